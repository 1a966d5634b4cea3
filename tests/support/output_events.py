"""The events that an output writes, and those that show its items."""

from collections.abc import Iterator
from typing import Any

from support.output_steps import Step
from support.turns import SUBJECT, a_turn, events_of, unchallenged
from turnstream.events import Batch, encode
from turnstream.memory import MemoryBus
from turnstream.turns import Item
from turnstream_worker.event_log import EventLog
from turnstream_worker.output import Output

type Event = dict[str, Any]

MESSAGE_ORDER = [
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
]


async def written(*steps: Step) -> tuple[list[Event], list[Item]]:
    """Return the events that these steps write to an empty log, and the items that they leave."""
    return await written_after([], *steps)


async def written_after(before: list[Event], *steps: Step, obfuscate: bool = True) -> tuple[list[Event], list[Item]]:
    """Do the same on a log in which a dead attempt has left these events; return all events."""
    bus = MemoryBus()
    lines = [encode(event["type"], number, without(event, "type")) for number, event in enumerate(before)]
    await bus.append(SUBJECT, Batch(1, 0, lines), 0)
    log, state = await EventLog.take_over(bus, a_turn(attempt=2), unchallenged)
    output = Output("resp_1", log, state, obfuscate=obfuscate)
    for step in steps:
        step(output)
    await log.flush()
    return await events_of(bus), output.items


def without(fields: dict[str, Any], *names: str) -> dict[str, Any]:
    """Return a copy that lacks some fields."""
    return {name: value for name, value in fields.items() if name not in names}


def kinds(events: list[Event]) -> list[str]:
    """Return the events' types."""
    return [event["type"] for event in events]


def done(events: list[Event]) -> list[Item]:
    """Return the items as they were closed."""
    return [event["item"] for event in events if event["type"] == "response.output_item.done"]


# For each kind of part: where its index stands, its text, and the beginnings of its events' types.
PARTS = {
    "output_text": ("content_index", "text", "response.content_part", "response.output_text"),
    "refusal": ("content_index", "refusal", "response.content_part", "response.refusal"),
    "reasoning_text": ("content_index", "text", "response.content_part", "response.reasoning"),
    "summary_text": (
        "summary_index",
        "text",
        "response.reasoning_summary_part",
        "response.reasoning_summary_text",
    ),
}
CALLS = {
    "function_call": ("arguments", "response.function_call_arguments"),
    "custom_tool_call": ("input", "response.custom_tool_call_input"),
}


def sequence(items: list[Item]) -> list[Event]:
    """Return the events that show these items and no others, as the specification orders them, in whole deltas."""
    return [event for place, item in enumerate(items) for event in _sequence(place, item)]


def _sequence(place: int, item: Item) -> Iterator[Event]:
    empty: dict[str, Any] = {"content": [], "summary": [], "arguments": "", "input": "", "status": "in_progress"}
    begun = {name: empty.get(name, value) for name, value in (item | {"status": "in_progress"}).items()}
    shown = {"output_index": place, "response_id": "resp_1"}
    here = {"item_id": item["id"], "output_index": place}
    yield {"type": "response.output_item.added", **shown, "item": without(begun, "encrypted_content")}
    for field in ("content", "summary"):
        for index, part in enumerate(item.get(field, ())):
            yield from _part_sequence(here, index, part)
    if item["type"] in CALLS:
        field, name = CALLS[item["type"]]
        yield {"type": f"{name}.delta", **here, "delta": item[field]}
        yield {"type": f"{name}.done", **here, field: item[field]}
    yield {"type": "response.output_item.done", **shown, "item": item}


def _part_sequence(here: Event, index: int, part: dict[str, Any]) -> Iterator[Event]:
    index_name, field, part_name, text_name = PARTS[part["type"]]
    here = {**here, index_name: index}
    logprobs = {"logprobs": part["logprobs"]} if "logprobs" in part else {}
    empty: dict[str, Any] = {"logprobs": []} if logprobs else {}
    yield {"type": f"{part_name}.added", **here, "part": part | {field: ""} | empty}
    if part[field]:
        yield {"type": f"{text_name}.delta", **here, "delta": part[field], **logprobs}
    yield {"type": f"{text_name}.done", **here, field: part[field], **logprobs}
    yield {"type": f"{part_name}.done", **here, "part": part}


def joined(events: list[Event]) -> list[Event]:
    """Return numbered events without their numbers and their filling, deltas that follow each other joined to one."""
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    found: list[Event] = []
    for numbered in events:
        event = without(numbered, "sequence_number", "obfuscation")
        if event["type"] == "response.output_item.added":
            event["item"] = without(event["item"], "encrypted_content")  # the last event is the one to have it
        growing = ("delta", "logprobs")
        if "delta" in event and found and without(found[-1], *growing) == without(event, *growing):
            found[-1] = found[-1] | {name: found[-1][name] + event[name] for name in growing if name in event}
        else:
            found.append(event)
    return found
