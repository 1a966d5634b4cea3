"""A turn's output: each item with its events, in the order of the Open Responses specification."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.turns import SUBJECT, a_turn, events_of, unchallenged

from turnstream.events import Batch, encode
from turnstream.ids import item_id
from turnstream.memory import MemoryBus
from turnstream.turns import Item
from turnstream_worker.event_log import WAITING_BYTES, EventLog
from turnstream_worker.output import OBFUSCATION_BLOCK, Output

type Event = dict[str, Any]
type Step = Callable[[Output], object]

SOON = 5  # seconds

MESSAGE_ORDER = [
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
]
CALL_ORDER = [
    "response.output_item.added",
    "response.function_call_arguments.delta",
    "response.function_call_arguments.done",
    "response.output_item.done",
]
REASONING_ORDER = [
    "response.output_item.added",
    "response.content_part.added",
    "response.reasoning.delta",
    "response.reasoning.done",
    "response.content_part.done",
    "response.reasoning_summary_part.added",
    "response.reasoning_summary_text.delta",
    "response.reasoning_summary_text.done",
    "response.reasoning_summary_part.done",
    "response.output_item.done",
]
CALL = {
    "type": "function_call",
    "id": "fc_1",
    "call_id": "call_1",
    "name": "f",
    "arguments": '{"a": 1}',
    "status": "completed",
}
TOKENS = [
    {"token": token, "logprob": -0.5, "bytes": list(token.encode()), "top_logprobs": []} for token in ("he", "llo")
]


def message(text: str, status: str = "completed") -> Item:
    """Make a stored message."""
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {"type": "message", "id": "msg_1", "role": "assistant", "content": [part], "status": status}


# The steps that make an output


def text(kind: str, *deltas: str) -> Step:
    """Stream deltas of a kind of part."""

    def step(output: Output) -> None:
        for delta in deltas:
            output.text(kind, delta)

    return step


def tokens(output: Output) -> None:
    """Stream tokens with their probabilities."""
    for token in TOKENS:
        output.text("output_text", str(token["token"]), [token])


def close(status: str = "completed", **fields: Any) -> Step:
    """End the open item, and say so as it is done once it is stored."""

    def step(output: Output) -> None:
        output.hold_item(status, **fields)
        output.announce(output.items)

    return step


def call(output: Output) -> None:
    """Call a function."""
    made = {"call_id": "call_1", "name": "f", "arguments": '{"a": 1}', "status": "completed"}
    output.items.append({"type": "function_call", "id": item_id("fc_", "resp_1"), **made})


def custom_call(output: Output) -> None:
    """Call a custom tool."""
    made = {"call_id": "call_2", "name": "g", "input": "x = 1", "status": "completed"}
    output.items.append({"type": "custom_tool_call", "id": item_id("ctc_", "resp_1"), **made})


def compaction(output: Output) -> None:
    """Say that what came before was summed up."""
    output.items.append({"type": "compaction", "id": item_id("cmp_", "resp_1"), "encrypted_content": "ts1.x"})
    output.announce(output.items)


def announce(*items: Item) -> Step:
    """Announce stored items."""
    return lambda output: output.announce(list(items))


def announce_own(output: Output) -> None:
    """Announce the items of this output, as it is done once they are stored."""
    output.announce(output.items)


def close_left_open(output: Output) -> None:
    """Close what a dead attempt left open."""
    output.close_left_open()


REASONING = [text("reasoning_text", "hm", ", well"), text("summary_text", "thought", " a bit")]
# Everything that is shown as it comes.
STREAMED: dict[str, list[Step]] = {
    "message": [text("output_text", "he", "llo"), close()],
    "message with logprobs": [tokens, close()],
    "incomplete message": [text("output_text", "he"), close("incomplete")],
    "refusal": [text("refusal", "I", " will not"), close()],
    "several parts": [text("output_text", "a"), text("refusal", "b"), text("output_text", "c", "d"), close()],
    "reasoning": [text("reasoning_text", "hm", ", well"), close()],
    "reasoning summed up": [*REASONING, close()],
    "reasoning sealed": [*REASONING, close(encrypted_content="ts1.x")],
    "compaction": [compaction],
    "several items": [compaction, *REASONING, text("output_text", "a"), close(), text("output_text", "b"), close()],
}
# And with what is shown once it is stored.
OUTPUTS = STREAMED | {
    "function call": [call],
    "custom tool call": [custom_call],
    "all": [compaction, *REASONING, text("output_text", "he", "llo"), close(), call, custom_call],
}


# What becomes of them


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


async def test_message() -> None:
    """A message is opened with its part, streamed, and closed from the inside out; then it is an item."""
    events, items = await written(text("output_text", "he", "llo"), close())
    assert kinds(events) == [*MESSAGE_ORDER[:3], *MESSAGE_ORDER[2:]]
    assert events[0]["item"] == {**message(""), "id": items[0]["id"], "content": [], "status": "in_progress"}
    assert items == [{**message("hello"), "id": items[0]["id"]}]
    assert events[-1]["item"] == items[0]
    assert events[-3]["text"] == events[-2]["part"]["text"] == "hello"
    assert {event["response_id"] for event in (events[0], events[-1])} == {"resp_1"}


async def test_reasoning() -> None:
    """Reasoning is opened with its text; its summary follows in the same item, which is closed with what it has."""
    events, [item] = await written(
        text("reasoning_text", "hm"), text("summary_text", "a"), close(encrypted_content="ts1.x")
    )
    assert kinds(events) == REASONING_ORDER
    assert item == {
        "type": "reasoning",
        "id": item["id"],
        "status": "completed",
        "content": [{"type": "reasoning_text", "text": "hm"}],
        "summary": [{"type": "summary_text", "text": "a"}],
        "encrypted_content": "ts1.x",
    }


async def test_parts_stand_one_behind_the_other() -> None:
    """A text that follows another kind of text in the same message is a part of its own, at the next place."""
    events, [item] = await written(text("output_text", "a"), text("refusal", "b"), text("output_text", "c"), close())
    assert [part.get("text", part.get("refusal")) for part in item["content"]] == ["a", "b", "c"]
    added = [event["content_index"] for event in events if event["type"] == "response.content_part.added"]
    assert added == [0, 1, 2]


async def test_two_messages() -> None:
    """What comes after a message was closed is another message, at the next place."""
    events, items = await written(text("output_text", "a"), close(), text("output_text", "b"), close("incomplete"))
    assert joined(events) == sequence(items)
    assert [(item["content"][0]["text"], item["status"]) for item in items] == [("a", "completed"), ("b", "incomplete")]


async def test_an_answer_closes_the_reasoning() -> None:
    """Text that follows reasoning begins a message, and the reasoning before it is completed."""
    _, items = await written(text("reasoning_text", "hm"), text("output_text", "hi"), close("incomplete"))
    assert [(item["type"], item["status"]) for item in items] == [("reasoning", "completed"), ("message", "incomplete")]


async def test_closing_nothing() -> None:
    """Where no item is open, closing it writes nothing."""
    assert await written(close(encrypted_content="ts1.x")) == ([], [])


async def test_whole_item_is_shown_at_once() -> None:
    """A compaction is shown when it is put out, whole, with the id by which its events name it."""
    events, [item] = await written(compaction)
    assert kinds(events) == ["response.output_item.added", "response.output_item.done"]
    assert item == events[-1]["item"] == {"type": "compaction", "id": item["id"], "encrypted_content": "ts1.x"}


async def test_call_is_not_seen_before_it_is_stored() -> None:
    """A function call writes nothing until it is announced, since a client acts on it as soon as it sees it."""
    events, [item] = await written(call)
    assert events == []
    assert item == {**CALL, "id": item["id"]}


async def test_call_is_announced_whole() -> None:
    """A stored call is announced with its arguments in one piece, begun without them and done with them."""
    events, _ = await written(announce(CALL))
    assert kinds(events) == CALL_ORDER
    assert events[0]["item"] == {**CALL, "arguments": "", "status": "in_progress"}
    assert events[-1]["item"] == CALL


@pytest.mark.parametrize("output", OUTPUTS)
async def test_every_item_has_its_events(output: str) -> None:
    """Whatever a turn puts out, its events are those of its items: each once, in order, with the text in between."""
    events, items = await written(*OUTPUTS[output], announce_own, close_left_open)
    assert joined(events) == sequence(items)
    assert done(events) == items


@pytest.mark.parametrize("output", OUTPUTS)
async def test_announcing_what_was_shown_in_part(output: str) -> None:
    """Wherever the attempt died that stored an output, the next one shows the rest of it and repeats nothing."""
    events, items = await written(*OUTPUTS[output], announce_own)
    for cut in range(len(events) + 1):
        resumed, _ = await written_after(events[:cut], announce(*items), close_left_open)
        assert resumed[:cut] == events[:cut]
        assert joined(resumed) == sequence(items), f"cut behind event {cut}"


@pytest.mark.parametrize("output", STREAMED)
async def test_closing_what_a_dead_attempt_left(output: str) -> None:
    """Wherever an attempt died, the next closes what it left open as incomplete, and puts out its own behind it."""
    events, _ = await written(*STREAMED[output])
    for cut in range(1, len(events) + 1):
        again = (close_left_open, *STREAMED[output], close_left_open)  # before the engine runs, and when it has ended
        resumed, items = await written_after(events[:cut], *again)
        whole = done(events[:cut])
        closed = done(resumed)[len(whole) : -len(items)]
        assert [item["status"] for item in closed] == ["incomplete"] * (
            kinds(events[:cut]).count(MESSAGE_ORDER[0]) - len(whole)
        )
        assert joined(resumed) == sequence([*whole, *closed, *items]), f"cut behind event {cut}"


async def test_left_open_keeps_what_it_said() -> None:
    """What a dead attempt left open is closed with what it streamed, and is no item of the turn."""
    events, _ = await written(text("output_text", "hel"))
    resumed, items = await written_after(events, close_left_open, text("output_text", "hello"), close())
    left, whole = done(resumed)
    assert left["content"][0]["text"] == "hel"
    assert items == [whole]


@pytest.mark.parametrize("kind", PARTS)
@pytest.mark.parametrize("length", [1, 2, OBFUSCATION_BLOCK - 1, OBFUSCATION_BLOCK, OBFUSCATION_BLOCK + 1, 100])
async def test_deltas_are_filled_up(kind: str, length: int) -> None:
    """Deltas are filled up to full blocks, so that who sees their sizes on the wire learns no lengths of tokens."""
    events, _ = await written(text(kind, "x" * length))
    [event] = [event for event in events if "delta" in event]
    assert (len(event["delta"]) + len(event["obfuscation"])) % OBFUSCATION_BLOCK == 0


@pytest.mark.parametrize("kind", PARTS)
async def test_deltas_without_filling(kind: str) -> None:
    """A client that wants no filling gets none."""
    events, _ = await written_after([], text(kind, "hello"), close(), obfuscate=False)
    assert [event for event in events if "obfuscation" in event] == []


async def test_size() -> None:
    """The size is the number of characters of text so far, of all kinds and over all items."""
    log, state = await EventLog.take_over(MemoryBus(), a_turn(), unchallenged)
    output = Output("resp_1", log, state)
    for step in (text("reasoning_text", "hm"), text("output_text", "hé", "llo"), close(), text("refusal", "no")):
        step(output)
    assert output.size == 9
    await log.flush()


async def test_written() -> None:
    """What is written is the text of the open part alone."""
    log, state = await EventLog.take_over(MemoryBus(), a_turn(), unchallenged)
    output = Output("resp_1", log, state)
    assert output.written == ""
    text("reasoning_text", "hm", ", well")(output)
    assert output.written == "hm, well"
    text("output_text", "hello")(output)
    assert output.written == "hello"
    output.close_item()
    assert output.written == ""
    await log.flush()


async def test_room() -> None:
    """A writer that is faster than the bus waits until it has caught up."""
    bus = MemoryBus()
    log, state = await EventLog.take_over(bus, a_turn(), unchallenged)
    output = Output("resp_1", log, state)
    bus.reachable.clear()
    text("output_text", *["x" * (WAITING_BYTES // 16)] * 20)(output)
    waiting = asyncio.create_task(output.room())
    finished, _ = await asyncio.wait([waiting], timeout=0.02)
    assert not finished
    bus.reachable.set()
    async with asyncio.timeout(SOON):
        await waiting
    await log.flush()
