"""A turn's output: each item with its events, in the order of the Open Responses specification."""

from typing import Any

import pytest
from support.turns import SUBJECT, a_turn, events_of

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
CALL_ORDER = [
    "response.output_item.added",
    "response.function_call_arguments.delta",
    "response.function_call_arguments.done",
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


def message(text: str, status: str = "completed") -> Item:
    """Make a stored message."""
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {"type": "message", "id": "msg_1", "role": "assistant", "content": [part], "status": status}


async def written(*steps: tuple[str, Any]) -> tuple[list[Event], list[Item]]:
    """Return the events that calls of an output's methods write to an empty log, and the items that they leave."""
    return await written_after([], *steps)


async def written_after(before: list[tuple[str, Event]], *steps: tuple[str, Any]) -> tuple[list[Event], list[Item]]:
    """Do the same on a log in which a dead attempt has left these events; return all events."""
    bus = MemoryBus()
    lines = [encode(kind, number, fields) for number, (kind, fields) in enumerate(before)]
    await bus.append(SUBJECT, Batch(1, 0, lines), 0)
    log, state = await EventLog.take_over(bus, a_turn(attempt=2))
    output = Output("resp_1", log, state)
    for method, argument in steps:
        call = getattr(output, method)
        call(*argument) if isinstance(argument, tuple) else call(argument)
    await log.flush()
    return await events_of(bus), output.items


def kinds(events: list[Event]) -> list[str]:
    """Return the events' types."""
    return [event["type"] for event in events]


def assert_well_formed(events: list[Event]) -> None:
    """Every item is added once, then has its events at its own place, then is done once, with the text it streamed."""
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    added = [event for event in events if event["type"] == "response.output_item.added"]
    assert [event["output_index"] for event in added] == list(range(len(added)))
    assert len({event["item"]["id"] for event in added}) == len(added)
    for place, item in ((event["output_index"], event["item"]) for event in added):
        own = [event for event in events if event["output_index"] == place]
        order = MESSAGE_ORDER if item["type"] == "message" else CALL_ORDER
        assert [kind for kind in order if kind not in kinds(own)] in ([], ["response.output_text.delta"])
        assert kinds(own) == sorted(kinds(own), key=order.index)
        assert all(event.get("item_id", item["id"]) == item["id"] for event in own)
        assert all(kinds(own).count(kind) == 1 for kind in order if not kind.endswith(".delta"))
        done = own[-1]["item"]
        assert done["id"] == item["id"]
        streamed = "".join(event["delta"] for event in own if event["type"].endswith(".delta"))
        assert streamed == (done["content"][0]["text"] if item["type"] == "message" else done["arguments"])


async def test_message() -> None:
    """A message is opened with its part, streamed, and closed from the inside out; then it is an item."""
    events, items = await written(("text", "he"), ("text", "llo"), ("close_message", "completed"))
    assert kinds(events) == [*MESSAGE_ORDER[:3], *MESSAGE_ORDER[2:]]
    assert_well_formed(events)
    assert events[0]["item"] == {**message(""), "id": items[0]["id"], "content": [], "status": "in_progress"}
    assert items == [{**message("hello"), "id": items[0]["id"]}]
    assert events[-1]["item"] == items[0]
    assert events[-3]["text"] == events[-2]["part"]["text"] == "hello"
    assert {event["response_id"] for event in (events[0], events[-1])} == {"resp_1"}


async def test_closing_nothing() -> None:
    """Where no message is open, closing it writes nothing."""
    assert await written(("close_message", "completed")) == ([], [])


async def test_two_messages() -> None:
    """What comes after a message was closed is another message, at the next place."""
    events, items = await written(
        ("text", "a"), ("close_message", "completed"), ("text", "b"), ("close_message", "incomplete")
    )
    assert_well_formed(events)
    assert [(item["content"][0]["text"], item["status"]) for item in items] == [("a", "completed"), ("b", "incomplete")]


async def test_call_is_not_seen_before_it_is_stored() -> None:
    """A function call writes nothing until it is announced, since a client acts on it as soon as it sees it."""
    events, [call] = await written(("add_call", ("call_1", "f", '{"a": 1}')))
    assert events == []
    assert call == {**CALL, "id": call["id"]}


async def test_call_is_announced_whole() -> None:
    """A stored call is announced with its arguments in one piece, begun without them and done with them."""
    events, _ = await written(("announce", [CALL]))
    assert kinds(events) == CALL_ORDER
    assert_well_formed(events)
    assert events[0]["item"] == {**CALL, "arguments": "", "status": "in_progress"}
    assert events[-1]["item"] == CALL


async def test_announcing_what_was_streamed() -> None:
    """An item whose events stand in the log is not announced again."""
    bus = MemoryBus()
    log, state = await EventLog.take_over(bus, a_turn())
    output = Output("resp_1", log, state)
    output.text("hello")
    output.close_message("completed")
    await log.flush()
    before = await events_of(bus)
    output.announce(output.items)
    output.close_left_open()
    await log.flush()
    assert await events_of(bus) == before


async def test_announcing_a_message_that_was_never_streamed() -> None:
    """A stored message of which the log has nothing is announced whole, with its status."""
    events, _ = await written(("announce", [message("hello", "incomplete"), CALL]))
    assert kinds(events) == MESSAGE_ORDER + CALL_ORDER
    assert_well_formed(events)
    assert events[5]["item"] == message("hello", "incomplete")


def streamed(text: str, upto: int) -> list[tuple[str, Event]]:
    """Return the first events of a message, as a dead attempt left them; the third holds `text`."""
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    item = {**message(""), "content": [], "status": "in_progress"}
    fields: list[Event] = [
        {"output_index": 0, "item": item},
        {**place, "part": part},
        {**place, "delta": text, "logprobs": []},
        {**place, "text": text, "logprobs": []},
        {**place, "part": {**part, "text": text}},
    ]
    return list(zip(MESSAGE_ORDER, fields, strict=False))[:upto]


@pytest.mark.parametrize("upto", [1, 2, 3])
@pytest.mark.parametrize("text", ["hello", "he", ""])
async def test_announcing_a_half_streamed_message(upto: int, text: str) -> None:
    """A stored message that the log holds in part is completed: what was streamed is not repeated."""
    events, _ = await written_after(streamed(text, upto), ("announce", [message("hello")]), ("close_left_open", ()))
    assert_well_formed(events)
    assert events[-1]["item"] == message("hello")


@pytest.mark.parametrize("upto", [4, 5])
async def test_announcing_a_half_closed_message(upto: int) -> None:
    """A stored message whose closing was cut off between its events is closed without repeating any."""
    events, _ = await written_after(streamed("hello", upto), ("announce", [message("hello")]), ("close_left_open", ()))
    assert_well_formed(events)


@pytest.mark.parametrize("upto", [1, 2, 3])
async def test_announcing_a_half_announced_call(upto: int) -> None:
    """A stored call that the log holds in part is completed, and not announced a second time."""
    place = {"item_id": "fc_1", "output_index": 0}
    fields: list[Event] = [
        {"output_index": 0, "item": {**CALL, "arguments": "", "status": "in_progress"}},
        {**place, "delta": CALL["arguments"]},
        {**place, "arguments": CALL["arguments"]},
    ]
    before = list(zip(CALL_ORDER, fields, strict=False))[:upto]
    events, _ = await written_after(before, ("announce", [CALL]), ("close_left_open", ()))
    assert_well_formed(events)
    assert events[-1]["item"] == CALL


@pytest.mark.parametrize("upto", [1, 2, 3])
async def test_closing_what_a_dead_attempt_left(upto: int) -> None:
    """What a dead attempt left open is closed as incomplete with what it streamed, and is no item of the turn."""
    again = ("close_left_open", ())  # before the engine runs, and once it has ended
    events, items = await written_after(
        streamed("hel", upto), again, ("text", "hello"), ("close_message", "completed"), again
    )
    assert_well_formed(events)
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert [item["status"] for item in done] == ["incomplete", "completed"]
    assert done[0]["content"][0]["text"] == ("hel" if upto == 3 else "")
    assert items == done[1:]


async def test_size() -> None:
    """The size is the number of characters of text so far, over all messages."""
    log, state = await EventLog.take_over(MemoryBus(), a_turn())
    output = Output("resp_1", log, state)
    for text in ("hé", "llo"):
        output.text(text)
        output.close_message("completed")
    assert output.size == 5
    await log.flush()
