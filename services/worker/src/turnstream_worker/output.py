"""A turn's output items as they grow, each with its events in the order of the Open Responses specification."""

from collections.abc import Iterable
from typing import Any

from turnstream.ids import item_id
from turnstream.turns import Item
from turnstream_worker.event_log import EventLog
from turnstream_worker.log_state import LogState, OpenItem
from turnstream_worker.parts import PART_KINDS, OpenPart, blank

# What a new item of a type begins with.
NEW_ITEMS: dict[str, tuple[str, Item]] = {
    "message": ("msg_", {"role": "assistant", "content": []}),
    "reasoning": ("rs_", {"summary": [], "content": []}),
}
# The field that a tool's call carries, and the beginning of the types of its events.
CALLS = {
    "function_call": ("arguments", "response.function_call_arguments"),
    "custom_tool_call": ("input", "response.custom_tool_call_input"),
    "mcp_call": ("arguments", "response.mcp_call_arguments"),
}
# The beginning of the types of the events of what Turnstream runs itself, and the states that it goes through.
TOOL_EVENTS = {
    "mcp_list_tools": ("response.mcp_list_tools", "in_progress"),
    "mcp_call": ("response.mcp_call", "in_progress"),
    "web_search_call": ("response.web_search_call", "in_progress", "searching"),
}
# Deltas are filled up to a multiple of so many characters: their sizes would tell a listener on the wire their lengths.
OBFUSCATION_BLOCK = 16
_FILLING = "x" * OBFUSCATION_BLOCK


class Output:
    """The items that one attempt adds to a turn.

    Text is streamed as it comes. That an item is whole is told once it is stored, by `announce`, or once another one
    follows it in the model's answer; no later attempt makes it again, or takes it back. A call of a client's tool is
    not told of before it is stored at all, since a client may act on a call as soon as it sees it.
    """

    def __init__(self, turn: str, log: EventLog, state: LogState, *, obfuscate: bool = True) -> None:
        self.items: list[Item] = []  # whole, in order
        self.size = 0  # characters of text
        self._turn = turn
        # llama-stack-client reads the items of these events only where they name their response.
        self._of_response = {"response_id": turn}
        self._obfuscate = obfuscate
        self._log = log
        self._state = state
        self._item: OpenItem | None = None
        self._part: OpenPart | None = None

    @property
    def written(self) -> str:
        """The text of the open part."""
        return "".join(self._part.pieces) if self._part else ""

    def close_left_open(self, goes_on: Iterable[str] = ()) -> None:
        """Close what a dead attempt left half-streamed, as incomplete; it is no part of the turn's output.

        The items whose ids are in `goes_on` stay open: what they are about goes on.
        """
        for left in tuple(self._state.open.values()):
            if left.item["id"] not in goes_on:
                del self._state.open[left.item["id"]]
                self._finish(left, _whole(left, "incomplete"))

    def keep_told(self, journalled: Iterable[Item]) -> None:
        """Begin with what a dead attempt has told as whole and not journalled: it stays part of the turn's output."""
        ids = {item["id"] for item in journalled}
        self.items += [item for item in self._state.told if item["id"] not in ids]

    async def room(self) -> None:
        """Wait while more is waiting to be sent than may."""
        await self._log.room()

    def text(self, kind: str, delta: str, logprobs: list[dict[str, Any]] | None = None) -> None:
        """Add to the open part of a kind, and open one where there is none."""
        part = self._part if self._part is not None and self._part.type == kind else self._begin(kind)
        part.pieces.append(delta)
        if logprobs:
            part.logprobs += logprobs
        self.size += len(delta)
        self._send_delta(part, delta, logprobs or [])

    def hold_item(self, status: str, **fields: Any) -> None:
        """End the open item, if there is one, as `completed` or `incomplete`, with what it has besides its parts.

        That it is whole is to be announced.
        """
        if self._item is None:
            return
        opened, item = self._item, {**_whole(self._item, status), **fields}
        self._item = self._part = None
        self._state.open[item["id"]] = opened
        self.items.append(item)

    def close_item(self, **fields: Any) -> None:
        """End the open item as completed, if there is one, and announce it: another one follows before it is stored."""
        self.hold_item("completed", **fields)
        self.announce(self.items[-1:])

    def take(self) -> list[Item]:
        """Return the whole items, which stand in the journal from now on, and begin anew."""
        taken, self.items = self.items, []
        return taken

    def begin(self, item: Item) -> None:
        """Send the first events of a tool's call that has been started."""
        if item["id"] not in self._state.open:
            opened = self._state.open[item["id"]] = self._open(_beginning(item))
            self._send_beginning(opened, item)

    def announce(self, items: list[Item]) -> None:
        """Send the events of stored items that the log lacks, in part or whole."""
        for item in items:
            if item["id"] not in self._state.done:
                opened = self._state.open.pop(item["id"], None) or self._open(_beginning(item))
                self._send_beginning(opened, item)
                self._finish(opened, item)

    def _begin(self, kind: str) -> OpenPart:
        """Open a part of a kind behind those of its item, and first the item where that is another's."""
        wanted = PART_KINDS[kind]
        if self._item is not None and self._item.item["type"] != wanted.item:
            self.close_item()
        if self._item is None:
            prefix, beginning = NEW_ITEMS[wanted.item]
            self._item = self._open({"type": wanted.item, "id": item_id(prefix, self._turn), **beginning})
        elif self._part is not None:
            self._end_part(self._part, self._part.whole())
        place = sum(within == wanted.within for within, _ in self._item.parts)
        self._part = self._open_part(self._item, kind, place)
        return self._part

    def _open(self, item: Item) -> OpenItem:
        opened = OpenItem(self._state.items, {**item, "status": "in_progress"})
        self._state.items += 1
        self._log.append("response.output_item.added", output_index=opened.index, item=opened.item, **self._of_response)
        return opened

    def _open_part(self, opened: OpenItem, kind: str, place: int) -> OpenPart:
        wanted = PART_KINDS[kind]
        part = OpenPart(kind, {"item_id": opened.item["id"], "output_index": opened.index, wanted.index: place})
        opened.parts[wanted.within, place] = part
        self._log.append(f"{wanted.part_events}.added", **part.place, part=blank(kind))
        return part

    def _send_delta(self, part: OpenPart, delta: str, logprobs: list[dict[str, Any]]) -> None:
        fields: dict[str, Any] = {"delta": delta}
        if part.type == "output_text":
            fields["logprobs"] = logprobs
        if self._obfuscate:
            fields["obfuscation"] = _FILLING[len(delta) % OBFUSCATION_BLOCK :]
        self._log.append(f"{PART_KINDS[part.type].text_events}.delta", **part.place, **fields)

    def _finish(self, opened: OpenItem, item: Item) -> None:
        """Send what the log lacks of an item that is now whole."""
        for within in ("content", "summary"):  # as they were streamed: a model thinks before it sums up
            for place, part in enumerate(item.get(within, ())):
                open_part = opened.parts.get((within, place)) or self._open_part(opened, part["type"], place)
                self._end_part(open_part, part)
        if item["type"] in TOOL_EVENTS:
            # A search that failed has no event of its own.
            end = "failed" if item.get("error") is not None and item["type"] != "web_search_call" else "completed"
            kind = f"{TOOL_EVENTS[item['type']][0]}.{end}"
            self._send_once(opened.sent, kind, item_id=item["id"], output_index=opened.index)
        self._log.append("response.output_item.done", output_index=opened.index, item=item, **self._of_response)
        self._state.done.add(item["id"])

    def _end_part(self, part: OpenPart, whole: dict[str, Any]) -> None:
        kind = PART_KINDS[part.type]
        text = whole[kind.text]
        if rest := text[sum(map(len, part.pieces)) :]:
            self._send_delta(part, rest, whole.get("logprobs", [])[len(part.logprobs) :])
        fields = {"logprobs": whole["logprobs"]} if part.type == "output_text" else {}
        self._send_once(part.sent, f"{kind.text_events}.done", **part.place, **{kind.text: text}, **fields)
        self._send_once(part.sent, f"{kind.part_events}.done", **part.place, part=whole)

    def _send_beginning(self, opened: OpenItem, item: Item) -> None:
        place: dict[str, Any] = {"item_id": item["id"], "output_index": opened.index}
        if item["type"] in TOOL_EVENTS:
            events, *states = TOOL_EVENTS[item["type"]]
            for state in states:
                self._send_once(opened.sent, f"{events}.{state}", **place)
        if item["type"] in CALLS:
            field, events = CALLS[item["type"]]
            self._send_once(opened.sent, f"{events}.delta", **place, delta=item[field])
            self._send_once(opened.sent, f"{events}.done", **place, **{field: item[field]})

    def _send_once(self, sent: set[str], kind: str, **fields: Any) -> None:
        """Send an event of which there is one, unless the log has it: a dead attempt may have got so far."""
        if kind not in sent:
            sent.add(kind)
            self._log.append(kind, **fields)


def _whole(opened: OpenItem, status: str) -> Item:
    """Return an open item as its parts so far make it."""
    item = {**opened.item, "status": status}
    for (within, _), part in opened.parts.items():
        item[within] = [*item[within], part.whole()]
    return item


def _beginning(item: Item) -> Item:
    """Return a whole item as it would have been added: without what comes in events of its own."""
    emptied: dict[str, Any] = {within: [] for within in ("content", "summary") if within in item}
    if item["type"] in CALLS:
        emptied[CALLS[item["type"]][0]] = ""
    return {**item, **emptied}
