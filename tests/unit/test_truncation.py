"""A conversation is made shorter from its middle, and stays one that a model can read."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from turnstream_worker.truncation import without_middle

type Item = dict[str, Any]


@st.composite
def exchanges(draw: st.DrawFn) -> list[Item]:
    """Make a message of the user, and an answer to it, with calls and their outputs or without."""
    texts = st.text("x", max_size=400)
    exchange = [{"type": "message", "role": "user", "text": draw(texts)}]
    for number in range(draw(st.integers(0, 3))):
        call = f"call_{number}_{draw(st.uuids())}"
        exchange.append({"type": "function_call", "call_id": call, "arguments": draw(texts)})
        exchange.append({"type": "function_call_output", "call_id": call, "output": draw(texts)})
    if draw(st.booleans()):
        exchange.append({"type": "reasoning", "text": draw(texts)})
    return [*exchange, {"type": "message", "role": "assistant", "text": draw(texts)}]


PREFACES = st.lists(st.sampled_from([{"type": "message", "role": "system"}, {"type": "compaction"}]), max_size=2)


def calls(items: list[Item], kind: str) -> set[str]:
    """Return the calls that these items make or answer."""
    return {item["call_id"] for item in items if item["type"] == kind}


@given(PREFACES, st.lists(exchanges(), max_size=8))
def test_what_is_left_can_be_read(preface: list[Item], conversation: list[list[Item]]) -> None:
    """What is said first stays, as do the first and the last exchange; whole exchanges in between go, oldest first."""
    items = [*preface, *(item for exchange in conversation for item in exchange)]
    shorter = without_middle(items)
    if len(conversation) <= 2:
        assert shorter is None
        return
    assert shorter is not None
    left = [first for first in range(2, len(conversation)) if shorter == _without(preface, conversation, first)]
    assert len(left) == 1
    assert calls(shorter, "function_call") == calls(shorter, "function_call_output")


def _without(preface: list[Item], conversation: list[list[Item]], until: int) -> list[Item]:
    kept = [conversation[0], *conversation[until:]]
    return [*preface, *(item for exchange in kept for item in exchange)]


@given(st.lists(exchanges(), min_size=3, max_size=20))
def test_it_comes_to_an_end(conversation: list[list[Item]]) -> None:
    """Made shorter again and again, a conversation comes down to its first and its last exchange, and is left so."""
    items = [item for exchange in conversation for item in exchange]
    while (shorter := without_middle(items)) is not None:
        assert len(shorter) < len(items)
        items = shorter
    assert items == [*conversation[0], *conversation[-1]]


def test_a_quarter_goes_at_a_time() -> None:
    """About a quarter goes: of twenty equal exchanges, the oldest ones behind the first."""
    items = [{"type": "message", "role": "user", "number": number, "text": "x" * 1000} for number in range(20)]
    left = [item["number"] for item in without_middle(items) or []]
    assert left == [0, *range(6, 20)]


def test_nothing_to_leave_out() -> None:
    """A conversation without a middle cannot be made shorter."""
    assert without_middle([]) is None
    assert without_middle([{"type": "message", "role": "system"}]) is None
