"""A turn's output: each item with its events, in the order of the Open Responses specification."""

import pytest
from support.output_events import MESSAGE_ORDER, done, joined, kinds, sequence, written
from support.output_steps import OUTPUTS, announce, announce_own, call, close, close_left_open, compaction, text

from turnstream.turns import Item

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


def message(text: str, status: str = "completed") -> Item:
    """Make a stored message."""
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {"type": "message", "id": "msg_1", "role": "assistant", "content": [part], "status": status}


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
