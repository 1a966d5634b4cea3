"""A log, read back by an attempt that goes on behind another's."""

from typing import Any

import pytest

from turnstream.bus import Stored
from turnstream.events import TERMINAL, Batch, encode
from turnstream_worker.log_state import LogState, OpenItem

MESSAGE = {"type": "message", "id": "msg_1", "status": "in_progress", "role": "assistant", "content": []}
PLACE = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
ADDED = ("response.output_item.added", {"output_index": 0, "item": MESSAGE})
PART = ("response.content_part.added", {**PLACE, "part": {"type": "output_text", "text": ""}})
DELTAS = [("response.output_text.delta", {**PLACE, "delta": text}) for text in ("he", "llo")]
DONE = ("response.output_item.done", {"output_index": 0, "item": {**MESSAGE, "status": "completed"}})


def read(*events: tuple[str, dict[str, Any]], per_batch: int = 1) -> LogState:
    """Return the state of a log that holds these events, in batches of so many."""
    state = LogState()
    lines = [encode(kind, number, fields) for number, (kind, fields) in enumerate(events)]
    for sequence, first in enumerate(range(0, len(lines), per_batch), start=40):
        state.read(Stored(sequence, sequence - 1, Batch(1, first, lines[first : first + per_batch])))
    return state


def test_nothing_is_there_yet() -> None:
    """An empty log begins at number 0 behind stream sequence 0."""
    assert LogState() == LogState(sequence=0, next=0, ended=False, items=0, done=set(), open={})


@pytest.mark.parametrize("per_batch", [1, 2, 100])
def test_item_left_open(per_batch: int) -> None:
    """An item that was added and not done is open, with its text so far, however its events were batched."""
    state = read(ADDED, PART, *DELTAS, per_batch=per_batch)
    assert state.open == {"msg_1": OpenItem(0, MESSAGE, "hello", sent={PART[0], DELTAS[0][0]})}
    assert (state.next, state.items, state.done) == (4, 1, set())


def test_item_knows_how_far_it_came() -> None:
    """An open item knows the types of its events so far, so that none that comes once comes twice."""
    assert read(ADDED).open["msg_1"].sent == set()
    assert read(ADDED, PART).open["msg_1"].sent == {"response.content_part.added"}


def test_item_done() -> None:
    """An item that was done is known by its id, and its place stays taken."""
    state = read(ADDED, PART, *DELTAS, DONE)
    assert (state.open, state.done, state.items) == ({}, {"msg_1"}, 1)


def test_mark_moves_the_end() -> None:
    """An empty batch moves the sequence to append behind, and no number."""
    state = read(ADDED)
    state.read(Stored(99, 40, Batch(2, 1, [])))
    assert (state.sequence, state.next) == (99, 1)


@pytest.mark.parametrize("kind", TERMINAL)
def test_ended(kind: str) -> None:
    """A log with a terminal event has ended, and one without has not."""
    assert read(("response.created", {}), (kind, {"response": {}})).ended
    assert not read(("response.created", {}), ADDED).ended
