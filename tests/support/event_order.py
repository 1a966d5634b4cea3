"""The order that the Open Responses specification gives a response's events, checked on all events of one turn."""

from dataclasses import dataclass, field
from typing import Any

type Event = dict[str, Any]

BEGINNING = ("response.created", "response.in_progress")
TERMINAL = {
    "response.completed": {"completed"},
    "response.failed": {"failed"},
    "response.incomplete": {"incomplete", "cancelled"},
}
# By the beginnings of the events' types: the field of an item that their part stands in, and the part's own field.
TEXTS = {
    "response.output_text": ("content", "text"),
    "response.refusal": ("content", "refusal"),
    "response.reasoning": ("content", "text"),
    "response.reasoning_summary_text": ("summary", "text"),
}
PARTS = {"response.content_part": "content", "response.reasoning_summary_part": "summary"}
CALLS = {
    "response.function_call_arguments": "arguments",
    "response.custom_tool_call_input": "input",
    "response.mcp_call_arguments": "arguments",
}
CALLED = {"function_call", "custom_tool_call", "mcp_call"}
# By the types of what Turnstream runs itself: the states that it goes through, and those that it may end in.
STATES = {
    "mcp_list_tools": (("in_progress",), {"completed", "failed"}),
    "mcp_call": (("in_progress",), {"completed", "failed"}),
    "web_search_call": (("in_progress", "searching"), {"completed"}),
}
RUNS = {f"response.{kind}" for kind in STATES}


def disorder(events: list[Event]) -> list[str]:
    """Return what is out of order, each with the number of its event; nothing is if the list is empty."""
    reading = _Reading()
    for place, event in enumerate(events):
        reading.read(place, event)
    reading.end()
    return reading.complaints


@dataclass
class _Text:
    """A part, or what a tool is called with, as its deltas make it."""

    said: str = ""
    whole: str | None = None  # as its last event but one says it
    done: bool = False


@dataclass
class _Item:
    id: str
    index: int
    parts: dict[tuple[str, int], _Text] = field(default_factory=dict)
    call: _Text = field(default_factory=_Text)
    states: list[str] = field(default_factory=list)
    done: dict[str, Any] | None = None


@dataclass
class _Reading:
    """What has been read so far."""

    complaints: list[str] = field(default_factory=list)
    items: list[_Item] = field(default_factory=list)
    turns: set[str] = field(default_factory=set)
    ended: bool = False
    place: int = 0

    def read(self, place: int, event: Event) -> None:
        """Take in the next event."""
        self.place = place
        self._expect(event["sequence_number"] == place, f"the number is {event['sequence_number']}")
        self._expect(not self.ended, "it comes behind the terminal event")
        kind = event["type"]
        for only_place, only_kind in enumerate(BEGINNING):
            self._expect((kind == only_kind) == (place == only_place), f"{kind} is here, {only_kind} at {only_place}")
        beginning, _, ending = kind.rpartition(".")
        if "response" in event:
            self.turns.add(event["response"]["id"])
        if kind in TERMINAL:
            self._read_end(event)
        elif kind == "response.output_item.added":
            self._read_item(event)
        elif kind == "response.output_item.done":
            self._read_whole_item(event)
        elif beginning in PARTS:
            self._read_part(PARTS[beginning], ending, event)
        elif beginning in TEXTS:
            within, name = TEXTS[beginning]
            self._read_text(self._part(within, event), ending, name, event)
        elif beginning in RUNS or beginning in CALLS:
            self._read_call(beginning, ending, event)
        else:
            self._expect(kind in BEGINNING, f"{kind} is not known")

    def end(self) -> None:
        """Look at what is left when there are no more events."""
        self._expect(self.ended, "there is no terminal event")
        self._expect(len(self.turns) == 1, f"the events are of the responses {self.turns}")
        for item in self.items:
            self._expect(item.done is not None, f"item {item.id} is never done")

    def _expect(self, holds: bool, complaint: str) -> None:
        if not holds:
            self._complain(complaint)

    def _complain(self, complaint: str) -> None:
        self.complaints.append(f"event {self.place}: {complaint}")

    def _read_end(self, event: Event) -> None:
        self.ended = True
        response = event["response"]
        self._expect(response["status"] in TERMINAL[event["type"]], f"the status is {response['status']}")
        done = iter([item.done for item in self.items])
        for item in response["output"]:  # in the order of the items, which may be more: what dead attempts began
            self._expect(item in done, f"item {item['id']} of the output was not done so, or not in this order")
        if usage := response["usage"]:
            total = usage["input_tokens"] + usage["output_tokens"]
            self._expect(usage["total_tokens"] == total, "the tokens do not add up")
            cached, thought = usage["input_tokens_details"], usage["output_tokens_details"]
            self._expect(cached["cached_tokens"] <= usage["input_tokens"], "more was cached than read")
            self._expect(thought["reasoning_tokens"] <= usage["output_tokens"], "more was thought than written")

    # Items

    def _read_item(self, event: Event) -> None:
        item = event["item"]
        self._expect(event["output_index"] == len(self.items), f"the output_index is {event['output_index']}")
        self._expect(item["id"] not in [known.id for known in self.items], f"item {item['id']} was added before")
        self._expect(item["status"] == "in_progress", f"the item's status is {item['status']}")
        self._expect(not item.get("content") and not item.get("summary"), "the item has parts already")
        self.items.append(_Item(item["id"], event["output_index"]))

    def _read_whole_item(self, event: Event) -> None:
        whole = event["item"]
        item = self._item({**event, "item_id": whole["id"]})
        if item is None:
            return
        item.done = whole
        self._expect(whole.get("status", "completed") != "in_progress", "the item is done and in progress")
        for (within, index), part in item.parts.items():
            self._expect(part.done, f"{within}[{index}] is not done")
        for within in ("content", "summary"):
            announced = sum(kind == within for kind, _ in item.parts)
            self._expect(len(whole.get(within, ())) == announced, f"{announced} parts of its {within} were announced")
            for index, part in enumerate(whole.get(within, ())):
                said = item.parts.get((within, index), _Text()).whole
                self._expect(said in (part.get("text"), part.get("refusal")), f"{within}[{index}] says something else")
        if whole["type"] in STATES:
            first, last = STATES[whole["type"]]
            in_order = (*first,) == (*item.states[:-1],) and item.states[-1] in last
            self._expect(in_order, f"the states are {item.states}")
        for name in CALLS.values():
            if whole["type"] in CALLED and name in whole:
                self._expect(whole[name] == item.call.whole, f"the {name} are others")

    def _item(self, event: Event) -> _Item | None:
        """Return the item that an event is about, if it is open."""
        item = next((item for item in self.items if item.id == event["item_id"]), None)
        if item is None or item.done is not None:
            self._complain(f"item {event['item_id']} is not open")
            return None
        self._expect(item.index == event["output_index"], f"the output_index is {event['output_index']}")
        return item

    def _read_call(self, beginning: str, ending: str, event: Event) -> None:
        item = self._item(event)
        if item and beginning in RUNS:
            item.states.append(ending)
        elif item:
            self._read_text(item.call, ending, CALLS[beginning], event)

    # Parts and texts

    def _part(self, within: str, event: Event) -> _Text | None:
        item = self._item(event)
        part = item.parts.get((within, event[f"{within}_index"])) if item else None
        self._expect(part is not None, "its part was not added")
        return part

    def _read_part(self, within: str, ending: str, event: Event) -> None:
        if ending == "added":
            if item := self._item(event):
                index = event[f"{within}_index"]
                known = sum(kind == within for kind, _ in item.parts)
                self._expect(index == known, f"the {within}_index is {index}")
                self._expect(not event["part"].get("text"), "the part says something already")
                item.parts[within, index] = _Text()
        elif part := self._part(within, event):
            shown = event["part"].get("text", event["part"].get("refusal"))
            self._expect(not part.done, "the part was done before")
            self._expect(part.whole is not None and part.whole == shown, "the part is not what its text was")
            part.done = True

    def _read_text(self, text: _Text | None, ending: str, name: str, event: Event) -> None:
        if text is None:
            return
        self._expect(text.whole is None, "the text was done before")
        if ending == "delta":
            text.said += event["delta"]
        else:
            text.whole = event[name]
            self._expect(text.whole == text.said, "the deltas do not add up to it")
