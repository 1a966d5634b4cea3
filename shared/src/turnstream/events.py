"""The wire format of a turn's log.

An event is one line of JSON whose first key is `type` and whose second is `sequence_number`. A batch is the lines that
were appended together; it is one message of the turn's subject, with its place in the log in a header.
"""

import re
from dataclasses import dataclass
from typing import Any, Self

import orjson

TERMINAL = ("response.completed", "response.failed", "response.incomplete")
_TERMINAL_STARTS = tuple(f'{{"type":"{kind}"'.encode() for kind in TERMINAL)
OBFUSCATION = b',"obfuscation":"'
_FILLING = re.compile(re.escape(OBFUSCATION) + b'x*"}')
_TYPE_START = len(b'{"type":"')


def encode(kind: str, number: int, fields: dict[str, Any]) -> bytes:
    """Return one event as a line without its line break; JSON escapes those, so a line never holds one."""
    return orjson.dumps({"type": kind, "sequence_number": number, **fields})


def decode(line: bytes) -> dict[str, Any]:
    """Return the event that stands on a line."""
    event: dict[str, Any] = orjson.loads(line)
    return event


def is_terminal(line: bytes) -> bool:
    """Tell whether the event on this line is the last of its turn."""
    return line.startswith(_TERMINAL_STARTS)


def without_obfuscation(line: bytes) -> bytes:
    """Return a delta's line without its last field, which fills it up to an even size; any other line as it is."""
    place = line.rfind(OBFUSCATION)
    return line[:place] + b"}" if place >= 0 and _FILLING.fullmatch(line, place) else line


def sse_frame(line: bytes) -> bytes:
    """Return a line as a frame of server-sent events, without parsing its JSON.

    The frame has no `id:` and no `retry:` line: llama-stack-client fails on a heartbeat once it has seen one.
    """
    kind = line[_TYPE_START : line.index(b'"', _TYPE_START)]
    return b"event: %b\ndata: %b\n\n" % (kind, line)


@dataclass(frozen=True, slots=True)
class Batch:
    """Events of one attempt that were appended together.

    An empty batch is a new attempt's mark: once it is stored, no earlier attempt can append behind it.
    """

    attempt: int
    first: int  # sequence_number of the first line
    lines: list[bytes]

    @property
    def next(self) -> int:
        """The number that follows this batch."""
        return self.first + len(self.lines)

    def header(self) -> str:
        """Return the batch's place in the log: attempt, first number and count."""
        return f"{self.attempt} {self.first} {len(self.lines)}"

    def payload(self) -> bytes:
        """Return the batch's lines as the message's bytes."""
        return b"\n".join(self.lines)

    @classmethod
    def parse(cls, header: str, payload: bytes) -> Self:
        """Return the batch of a message; the count in the header must fit the lines.

        Raises ValueError if the message is not a batch.
        """
        attempt, first, count = map(int, header.split(" "))
        lines = payload.split(b"\n") if payload else []
        if len(lines) != count:
            raise ValueError(f"the header says {count} events and the message holds {len(lines)}")
        return cls(attempt, first, lines)

    def since(self, number: int) -> list[bytes]:
        """Return the lines whose number is `number` or higher."""
        return self.lines[number - self.first :] if number > self.first else self.lines
