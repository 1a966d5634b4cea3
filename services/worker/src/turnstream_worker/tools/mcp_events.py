"""The events by which messages of MCP come, as a server sends them and as the library reads them."""

import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import httpx
from httpx_sse import EventSource, ServerSentEvent
from mcp.types import CONNECTION_CLOSED, ErrorData, JSONRPCError

from turnstream_worker.tools.mcp_errors import not_mcp

JSON = "application/json"
EVENTS = "text/event-stream"
CLOSED = "Connection closed"  # what the library says in place of an answer that will not come


class Pieces(httpx.AsyncByteStream):
    """A body that comes piece by piece."""

    def __init__(self, pieces: AsyncGenerator[bytes]) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._pieces:
            yield piece

    async def aclose(self) -> None:
        """Read no more of it."""
        await self._pieces.aclose()


async def read_events(media_type: str, pieces: AsyncGenerator[bytes]) -> AsyncGenerator[ServerSentEvent]:
    """Yield the events of a body, one where it is JSON; raise ToolError if it is neither."""
    if media_type.startswith(JSON):
        body = b"".join([piece async for piece in pieces])
        yield ServerSentEvent(data=body.decode(errors="replace"))
    elif media_type.startswith(EVENTS):
        stream = httpx.Response(200, headers={"content-type": EVENTS}, stream=Pieces(pieces))
        async with aclosing(EventSource(stream).aiter_sse()) as events:
            async for event in events:
                yield event
    else:
        raise not_mcp()


def encode(event: ServerSentEvent) -> bytes:
    """Return an event as it is sent."""
    lines = [f"event: {event.event}", *(f"data: {line}" for line in re.split("\r\n|\r|\n", event.data))]
    lines += [f"id: {event.id}"] if event.id else []
    lines += [f"retry: {event.retry}"] if event.retry is not None else []
    return "\n".join([*lines, "", ""]).encode()


def last_word(number: int) -> bytes:
    """Return an answer to a request that has no other: behind it the library waits for nothing more."""
    error = JSONRPCError(jsonrpc="2.0", id=number, error=ErrorData(code=CONNECTION_CLOSED, message=CLOSED))
    return encode(ServerSentEvent(data=error.model_dump_json()))
