"""A provider's answer as the bytes that came: nothing in it is parsed that need not be."""

import re
from collections.abc import AsyncGenerator
from typing import Any

import aiohttp

from turnstream.errors import ModelError
from turnstream_worker.endpoint import Endpoint

EVENT_LIMIT = 1 << 20  # bytes
DONE = b"data: [DONE]\n\n"
# JSON escapes line breaks and quotes, so neither of these can stand in what a model says.
SAYS_DONE = re.compile(rb"^data: ?\[DONE\]", re.MULTILINE)
GIVES_REASON = re.compile(rb'"finish_reason": ?"')


async def raw_answer(
    session: aiohttp.ClientSession, endpoint: Endpoint, path: str, request: dict[str, Any]
) -> AsyncGenerator[bytes]:
    """Yield what a provider answers: first what was there with its headers, be it nothing, then the rest as it comes.

    A stream comes in whole events, and ends with [DONE] even where the provider forgets it. Raises ModelError if the
    provider refuses, breaks off, or sends an event without an end.
    """
    async with endpoint.post(session, path, request) as content:
        if request.get("stream"):
            events = Events()
            yield events.cut(content.read_nowait())
            while not events.done and (data := await content.readany()):
                yield events.cut(data)
            yield events.end()
        else:
            yield content.read_nowait()
            while data := await content.readany():
                yield data


class Events:
    """Cuts a stream between its events, so that something can be put behind any piece of it."""

    def __init__(self) -> None:
        self.done = False  # whether the stream has said [DONE]; some servers keep the connection open behind it
        self._finished = False
        self._rest = b""

    def cut(self, data: bytes) -> bytes:
        """Return the events that are whole by now; raise ModelError if one grows too large."""
        data = self._rest + data
        blank_lines = ((data.rfind(b"\n\n"), 2), (data.rfind(b"\n\r\n"), 3))
        end = max((place + length for place, length in blank_lines if place >= 0), default=0)
        self._rest = data[end:]
        if len(self._rest) > EVENT_LIMIT:
            raise ModelError("The model's provider sent an event that is too large.")
        return self._seen(data[:end])

    def end(self) -> bytes:
        """Return what is left when no more comes; raise ModelError if the stream neither is done nor gave a reason."""
        if self.done:
            return b""
        rest = self._rest.strip()
        last = self._seen(rest + b"\n\n") if rest else b""
        if SAYS_DONE.search(last):
            return last
        if not self._finished:
            raise ModelError("The model's provider broke off in the middle of its answer.")
        return last + DONE

    def _seen(self, events: bytes) -> bytes:
        self.done = SAYS_DONE.search(events) is not None
        self._finished = self._finished or GIVES_REASON.search(events) is not None
        return events
