"""A provider's stream is cut between its events and found whole or broken, without parsing it."""

import pytest

from turnstream.errors import ModelError
from turnstream_worker.raw_answer import EVENT_LIMIT, Events

DELTA = b'data: {"choices":[{"delta":{"content":"h\xc3\xa9"},"finish_reason":null}]}\n\n'
FINISH = b'data: {"choices":[{"delta":{},"finish_reason": "stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"
WHOLE = DELTA + DELTA + FINISH + DONE
# What a model may say to look like an end; JSON escapes it.
LOOKALIKE = b'data: {"choices":[{"delta":{"content":"\\"finish_reason\\":\\"stop\\"\\ndata: [DONE]\\n\\n"}}]}\n\n'


def pieces(*arriving: bytes) -> list[bytes]:
    """Return what a stream that arrives in these pieces is cut into, its end included."""
    events = Events()
    cut = []
    for data in arriving:
        cut.append(events.cut(data))
        if events.done:
            break
    return [*cut, events.end()]


@pytest.mark.parametrize("stream", [WHOLE, WHOLE.replace(b"\n", b"\r\n"), b": hello\n\n" + WHOLE])
def test_cut_anywhere(stream: bytes) -> None:
    """Wherever the network cuts a stream, its bytes come unchanged, and every piece ends where an event does."""
    for place in range(1, len(stream)):
        cut = pieces(stream[:place], stream[place:])
        assert b"".join(cut) == stream
        assert all(piece.endswith((b"\n\n", b"\n\r\n")) for piece in cut if piece)
    singles = pieces(*(stream[place : place + 1] for place in range(len(stream))))
    assert b"".join(singles) == stream


def test_nothing_yet() -> None:
    """What is no whole event yet waits for its end."""
    events = Events()
    assert events.cut(b"") == b""
    assert events.cut(DELTA[:-1]) == b""
    assert events.cut(b"\n" + DELTA[:9]) == DELTA


def test_nothing_behind_the_end() -> None:
    """Behind [DONE] nothing is waited for."""
    events = Events()
    events.cut(WHOLE)
    assert events.done
    assert events.end() == b""


@pytest.mark.parametrize(
    ("end", "last"),
    [
        (FINISH, DONE),  # the provider has forgotten it
        (FINISH[:-1], FINISH + DONE),
        (FINISH + DONE[:-1], DONE),
        (FINISH + DONE[:-2], DONE),
        (b'data: {"choices":[{"text":"","finish_reason":"length"}]}\n\n', DONE),
    ],
)
def test_missing_end_is_mended(end: bytes, last: bytes) -> None:
    """A stream that gave its reason to finish is whole, and ends with [DONE] once."""
    cut = pieces(DELTA + end)
    assert cut[-1] == last
    assert b"".join(cut).count(DONE) == 1


@pytest.mark.parametrize("stream", [b"", DELTA, DELTA + DELTA[:20], LOOKALIKE, DELTA + LOOKALIKE])
def test_broken_off(stream: bytes) -> None:
    """A stream that ends without a reason was broken off, whatever the model said."""
    with pytest.raises(ModelError, match="broke off"):
        pieces(stream)


def test_event_without_end() -> None:
    """An event that never ends is given up, and not kept for ever."""
    events = Events()
    events.cut(b"data: " + b"x" * (EVENT_LIMIT // 2))
    with pytest.raises(ModelError, match="too large"):
        events.cut(b"x" * EVENT_LIMIT)
