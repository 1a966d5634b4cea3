"""What a streamed turn was like, read from its bytes after the load has ended."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

type Piece = tuple[float, bytes]
"""When bytes of a body came, in seconds, and the bytes."""

DELTA = "response.output_text.delta"
COMPLETED = "response.completed"


@dataclass(frozen=True)
class Token:
    """One word of the answer; the stand-in's tokens are words."""

    text: str
    arrival: float  # seconds


@dataclass(frozen=True)
class StreamedTurn:
    """The tokens of a turn, and the type of its last event."""

    tokens: Sequence[Token]
    last_event: str

    def complete(self, tokens: int) -> bool:
        """Tell whether all tokens came and the turn was completed."""
        return len(self.tokens) == tokens and self.last_event == COMPLETED

    def lags(self, epoch: float) -> list[float]:
        """Return the seconds from the sending to the arrival of each token, whose text is the time of its sending.

        `epoch` is the wall clock's time, in seconds, at which the clock of the arrivals stood at 0.
        """
        return [epoch + token.arrival - int(token.text) / 1000 for token in self.tokens]


def read_turn(pieces: Iterable[Piece]) -> StreamedTurn:
    """Read a turn from the body of a stream; a body that is no stream gives a turn without events."""
    tokens: list[Token] = []
    last_event = "none"
    for arrival, event in events(pieces):
        last_event = event.get("type", "unknown")
        if last_event == DELTA:
            # A server may send several tokens in one event.
            tokens.extend(Token(word, arrival) for word in event["delta"].split())
    return StreamedTurn(tokens, last_event)


def events(pieces: Iterable[Piece]) -> Iterator[tuple[float, dict[str, Any]]]:
    """Give each event of a server-sent stream, with the time at which its data was complete."""
    rest = b""
    for arrival, piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            data = line.removeprefix(b"data:").strip()
            if len(data) < len(line.strip()) and data != b"[DONE]":
                yield arrival, json.loads(data)
