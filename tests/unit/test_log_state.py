"""A log, read back by an attempt that goes on behind another's."""

from typing import Any

import pytest

from turnstream.bus import Stored
from turnstream.events import TERMINAL, Batch, encode
from turnstream_worker.log_state import LogState, OpenItem
from turnstream_worker.parts import OpenPart

MESSAGE = {"type": "message", "id": "msg_1", "status": "in_progress", "role": "assistant", "content": []}
PLACE = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
ADDED = ("response.output_item.added", {"output_index": 0, "item": MESSAGE})
PART = ("response.content_part.added", {**PLACE, "part": {"type": "output_text", "text": ""}})
DELTAS = [("response.output_text.delta", {**PLACE, "delta": text}) for text in ("he", "llo")]
PART_DONE = [
    ("response.output_text.done", {**PLACE, "text": "hello"}),
    ("response.content_part.done", {**PLACE, "part": {"type": "output_text", "text": "hello"}}),
]
DONE = ("response.output_item.done", {"output_index": 0, "item": {**MESSAGE, "status": "completed"}})


def read(*events: tuple[str, dict[str, Any]], per_batch: int = 1) -> LogState:
    """Return the state of a log that holds these events, in batches of so many."""
    state = LogState()
    lines = [encode(kind, number, fields) for number, (kind, fields) in enumerate(events)]
    for sequence, first in enumerate(range(0, len(lines), per_batch), start=40):
        state.read(Stored(sequence, Batch(1, first, lines[first : first + per_batch])))
    return state


def test_nothing_is_there_yet() -> None:
    """An empty log begins at number 0 behind stream sequence 0."""
    assert LogState() == LogState(sequence=0, next=0, ended=False, items=0, done=set(), open={})


@pytest.mark.parametrize("per_batch", [1, 2, 100])
def test_item_left_open(per_batch: int) -> None:
    """An item that was added and not done is open, with its text so far, however its events were batched."""
    state = read(ADDED, PART, *DELTAS, per_batch=per_batch)
    part = OpenPart("output_text", PLACE, ["he", "llo"])
    assert state.open == {"msg_1": OpenItem(0, MESSAGE, {("content", 0): part})}
    assert (state.next, state.items, state.done) == (4, 1, set())


def test_item_knows_how_far_it_came() -> None:
    """An open item knows its parts and how each has come to its end, so that no event that comes once comes twice."""
    assert read(ADDED).open["msg_1"].parts == {}
    for sent in range(3):
        [part] = read(ADDED, PART, *DELTAS, *PART_DONE[:sent]).open["msg_1"].parts.values()
        assert part.sent == {kind for kind, _ in PART_DONE[:sent]}


def test_probabilities_are_kept() -> None:
    """The probabilities of an open part's tokens are known, all of them."""
    tokens: list[dict[str, Any]] = [
        {"token": token, "logprob": -1.0, "bytes": [], "top_logprobs": []} for token in ("he", "llo")
    ]
    deltas = [(kind, {**fields, "logprobs": [token]}) for (kind, fields), token in zip(DELTAS, tokens, strict=True)]
    [part] = read(ADDED, PART, *deltas).open["msg_1"].parts.values()
    assert part.whole() == {"type": "output_text", "text": "hello", "annotations": [], "logprobs": tokens}


def test_parts_of_reasoning() -> None:
    """An item's text and its summary are kept apart, each with its parts by their places."""
    item = {"type": "reasoning", "id": "rs_1", "status": "in_progress", "summary": [], "content": []}
    names = {"item_id": "rs_1", "output_index": 0}
    thought = {**names, "content_index": 0}
    summed_up = [{**names, "summary_index": index} for index in range(2)]
    state = read(
        ("response.output_item.added", {"output_index": 0, "item": item}),
        ("response.content_part.added", {**thought, "part": {"type": "reasoning_text", "text": ""}}),
        ("response.reasoning.delta", {**thought, "delta": "hm"}),
        *[
            event
            for place in summed_up
            for event in (
                ("response.reasoning_summary_part.added", {**place, "part": {"type": "summary_text", "text": ""}}),
                ("response.reasoning_summary_text.delta", {**place, "delta": f"so {place['summary_index']}"}),
            )
        ],
    )
    assert state.open["rs_1"].parts == {
        ("content", 0): OpenPart("reasoning_text", thought, ["hm"]),
        ("summary", 0): OpenPart("summary_text", summed_up[0], ["so 0"]),
        ("summary", 1): OpenPart("summary_text", summed_up[1], ["so 1"]),
    }


@pytest.mark.parametrize("kind", ["function_call_arguments", "custom_tool_call_input"])
def test_call_left_open(kind: str) -> None:
    """An open call knows which of its events were sent; it has no parts."""
    item = {"type": "some_call", "id": "fc_1", "status": "in_progress"}
    sent = (f"response.{kind}.delta", {"item_id": "fc_1", "output_index": 0, "delta": "{}"})
    state = read(("response.output_item.added", {"output_index": 0, "item": item}), sent)
    assert state.open == {"fc_1": OpenItem(0, item, {}, {sent[0]})}


def test_beginning_that_has_expired() -> None:
    """Of an item whose first events are gone nothing is open, and once it is done it is known as such."""
    assert read(PART, *DELTAS).open == {}
    assert read(*DELTAS, DONE).done == {"msg_1"}


def test_item_done() -> None:
    """An item that was done is known by its id, and its place stays taken."""
    state = read(ADDED, PART, *DELTAS, DONE)
    assert (state.open, state.done, state.items) == ({}, {"msg_1"}, 1)


def test_mark_moves_the_end() -> None:
    """An empty batch moves the sequence to append behind, and no number."""
    state = read(ADDED)
    state.read(Stored(99, Batch(2, 1, [])))
    assert (state.sequence, state.next) == (99, 1)


def test_what_is_void() -> None:
    """What stands behind a later attempt, or again, in a log that was lost and written again, changes nothing."""
    state = read(ADDED, PART)
    delta = encode(DELTAS[0][0], 2, DELTAS[0][1])
    for sequence, attempt, first in ((50, 2, 2), (51, 1, 2), (52, 2, 2)):
        state.read(Stored(sequence, Batch(attempt, first, [delta])))
    assert (state.sequence, state.attempt, state.next) == (52, 2, 3)
    assert state.open["msg_1"].parts["content", 0].pieces == ["he"]
    assert state.digest.shown()["digest"]


@pytest.mark.parametrize("kind", TERMINAL)
def test_ended(kind: str) -> None:
    """A log with a terminal event has ended, and one without has not."""
    assert read(("response.created", {}), (kind, {"response": {}})).ended
    assert not read(("response.created", {}), ADDED).ended
