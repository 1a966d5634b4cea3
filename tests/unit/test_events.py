"""The wire format of a log: lines, batches and frames."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnstream.events import TERMINAL, Batch, decode, encode, is_terminal, sse_frame, without_obfuscation

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
LINES = st.lists(st.builds(encode, st.just("response.x"), st.integers(0, 2**53), st.fixed_dictionaries({"text": JSON})))


def test_line_begins_with_type_and_number() -> None:
    """An event's line begins with its type and its number, so that both are found without parsing JSON."""
    line = encode("response.created", 7, {"response": {"id": "resp_1"}})
    assert line == b'{"type":"response.created","sequence_number":7,"response":{"id":"resp_1"}}'


@given(fields=st.fixed_dictionaries({"delta": JSON, "item": JSON}))
def test_line_keeps_any_json(fields: dict[str, Any]) -> None:
    """Whatever an event holds comes back as it was, and never breaks its line."""
    line = encode("response.x", 1, fields)
    assert b"\n" not in line
    assert decode(line) == {"type": "response.x", "sequence_number": 1, **fields}


@pytest.mark.parametrize("kind", TERMINAL)
def test_terminal_events(kind: str) -> None:
    """The three ends of a response are terminal."""
    assert is_terminal(encode(kind, 3, {}))


@pytest.mark.parametrize("kind", ["response.created", "response.output_text.done", "response.completed_later", "error"])
def test_other_events_are_not_terminal(kind: str) -> None:
    """No other event is, not even one that names an end or speaks of one."""
    assert not is_terminal(encode(kind, 3, {"text": '{"type":"response.completed"'}))


def test_sse_frame() -> None:
    """A frame names the event's type, holds its line as it is, and has no id for clients to stumble over."""
    line = encode("response.output_text.delta", 4, {"delta": "a\nb"})
    event, data, *rest = sse_frame(line).split(b"\n")
    assert (event, data) == (b"event: response.output_text.delta", b"data: " + line)
    assert rest == [b"", b""]
    assert json.loads(data.removeprefix(b"data: "))["delta"] == "a\nb"


@given(attempt=st.integers(0, 2**31), first=st.integers(0, 2**53), lines=LINES)
def test_batch_comes_back_as_it_was(attempt: int, first: int, lines: list[bytes]) -> None:
    """A batch is read back from its header and payload as it was written, an empty one too."""
    batch = Batch(attempt, first, lines)
    assert Batch.parse(batch.header(), batch.payload()) == batch
    assert batch.next == first + len(lines)


@pytest.mark.parametrize(
    ("header", "payload"),
    [("1 0 2", b"{}"), ("1 0 0", b"{}"), ("1 0 1", b""), ("1 0", b"{}"), ("1 0 1 1", b"{}"), ("", b""), ("a b c", b"")],
)
def test_what_is_no_batch(header: str, payload: bytes) -> None:
    """A message whose header does not fit its lines is not taken for a batch."""
    with pytest.raises(ValueError):  # noqa: PT011 - Python's own words and ours
        Batch.parse(header, payload)


@pytest.mark.parametrize(
    ("number", "expected"),
    [(0, [b"5", b"6"]), (5, [b"5", b"6"]), (6, [b"6"]), (7, []), (100, [])],
)
def test_since(number: int, expected: list[bytes]) -> None:
    """What a reader has seen is left out, wherever in the batch it stopped."""
    assert Batch(1, 5, [b"5", b"6"]).since(number) == expected


def test_without_obfuscation() -> None:
    """What fills a delta up goes, and nothing else, whatever the delta itself says."""
    filled = encode("response.output_text.delta", 1, {"delta": "hi", "logprobs": [], "obfuscation": "xxxx"})
    assert without_obfuscation(filled) == encode("response.output_text.delta", 1, {"delta": "hi", "logprobs": []})
    for line in (encode("x", 1, {"delta": ',"obfuscation":"xx"}'}), encode("x", 1, {"delta": "hi"})):
        assert without_obfuscation(line) == line
