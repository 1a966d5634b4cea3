"""Reads a stream of server-sent events, within a bound.

https://html.spec.whatwg.org/multipage/server-sent-events.html, but for lines that end in a lone carriage return.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp

from turnstream_worker.tools.tool import ToolError


class Allowance:
    """How much a server may still send."""

    def __init__(self, limit: int) -> None:
        self._limit = limit  # bytes
        self._left = limit

    def spend(self, size: int) -> None:
        """Count what came; raise TooLargeError if it is more than the server may send."""
        self._left -= size
        if self._left < 0:
            raise TooLargeError(self._limit)


class TooLargeError(ToolError):
    """A server sent more than it may."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"The MCP server's answer is larger than {limit} bytes.", reason="too_large")


@dataclass(frozen=True, slots=True)
class Event:
    """An event, or what the stream says of itself between two."""

    name: str
    data: bytes
    id: str | None  # where to go on behind it
    retry: int | None  # milliseconds to wait before that


async def read_events(content: aiohttp.StreamReader, allowance: Allowance) -> AsyncIterator[Event]:
    """Yield the events of a stream; one that breaks off in the middle of an event yields what is whole."""
    unended = bytearray()
    block: list[bytes] = []
    async for piece in content.iter_any():
        allowance.spend(len(piece))
        unended += piece
        if b"\n" not in piece:
            continue
        *lines, unended = unended.split(b"\n")
        for line in lines:
            stripped = bytes(line.removesuffix(b"\r"))
            if stripped:
                block.append(stripped)
            elif block:
                yield _event(block)
                block = []


def _event(block: list[bytes]) -> Event:
    fields: dict[bytes, list[bytes]] = {}
    for line in block:
        name, _, value = line.partition(b":")
        fields.setdefault(name, []).append(value.removeprefix(b" "))
    retry = fields.get(b"retry", [b""])[-1]
    return Event(
        name=fields.get(b"event", [b"message"])[-1].decode(errors="replace"),
        data=b"\n".join(fields.get(b"data", [])),
        id=fields[b"id"][-1].decode(errors="replace") if b"id" in fields else None,
        retry=int(retry) if retry.isdigit() and len(retry) < 10 else None,  # noqa: PLR2004 - digits
    )
