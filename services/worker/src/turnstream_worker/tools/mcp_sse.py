"""MCP's first transport, HTTP with server-sent events: a stream that the answers come by, and an endpoint for requests.

https://modelcontextprotocol.io/specification/2024-11-05/basic/transports#http-with-sse
"""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import orjson
from yarl import URL

from turnstream.errors import FetchError
from turnstream.guard import web_url
from turnstream_worker.tools import json_rpc
from turnstream_worker.tools.background import Background
from turnstream_worker.tools.event_stream import Allowance, Event, read_events
from turnstream_worker.tools.json_rpc import Message
from turnstream_worker.tools.mcp_address import McpAddress
from turnstream_worker.tools.mcp_transport import (
    EVENTS,
    INITIALIZE_LIMIT,
    JSON,
    Question,
    agreed_version,
    check_status,
    connected,
    introduction,
    late,
    sent,
)


class HttpWithEvents:
    """Asks a server, each time over a stream of its own: servers that speak nothing newer are rare."""

    def __init__(
        self, http: aiohttp.ClientSession, address: McpAddress, background: Background, patience: float
    ) -> None:
        self._http = http
        self._address = address
        self._background = background
        self._patience = patience  # seconds to open a stream

    async def ask(self, question: Question) -> Any:
        """Return a request's result."""
        stream = _Stream(self._http, self._address)
        unanswered = False
        allowed = self._patience
        try:
            async with asyncio.timeout(self._patience):
                await stream.open(Allowance(INITIALIZE_LIMIT + question.limit))
            allowed, unanswered = question.patience, True
            async with asyncio.timeout(question.patience):
                answer = await stream.ask(question.method, question.params, question.headers())
            unanswered = False
        except TimeoutError as error:
            raise late(allowed) from error
        finally:
            self._background.start("take_back" if unanswered else "close", stream.close(take_back=unanswered))
        return json_rpc.result(answer)

    async def close(self) -> None:
        """Do nothing: no stream outlives its request."""


class _Stream:
    """One connection of events, its endpoint, and what is asked over it."""

    def __init__(self, http: aiohttp.ClientSession, address: McpAddress) -> None:
        self._http = http
        self._address = address
        self._endpoint = address.url
        self._numbers = itertools.count(1)
        self._last = 0  # the number that was asked last
        self._resources = AsyncExitStack()
        self._events: AsyncIterator[Event]

    async def open(self, allowance: Allowance) -> None:
        """Connect, and agree on a version of the protocol."""
        headers = self._address.headers | {"accept": EVENTS}
        response = await self._resources.enter_async_context(sent(self._http, "GET", self._address.url, headers))
        check_status(response)
        if response.content_type != EVENTS:
            raise json_rpc.not_mcp()
        self._events = read_events(response.content, allowance)
        first = await self._next()
        if first is None or first.name != "endpoint":
            raise json_rpc.not_mcp()
        self._endpoint = _endpoint(self._address.url, first.data)
        agreed_version(json_rpc.result(await self.ask("initialize", introduction(), {})))
        await self._tell(json_rpc.notification("notifications/initialized"))

    async def ask(self, method: str, params: dict[str, Any], headers: dict[str, str]) -> Message:
        """Return the answer to a request."""
        self._last = next(self._numbers)
        await self._tell(json_rpc.request(self._last, method, params), headers)
        while event := await self._next():
            for message in json_rpc.parse(event.data) if event.data and event.name == "message" else []:
                if json_rpc.answers(message, self._last):
                    return message
                if said := json_rpc.reply(message):
                    await self._tell(said)
        raise json_rpc.not_mcp()

    async def _next(self) -> Event | None:
        with connected():
            return await anext(self._events, None)

    async def close(self, *, take_back: bool) -> None:
        """Disconnect, after taking back what was asked last if it is to be."""
        async with self._resources:
            if take_back:
                await self._tell(json_rpc.cancelled(self._last))

    async def _tell(self, message: Message, more: dict[str, str] | None = None) -> None:
        headers = self._address.headers | {"content-type": JSON} | (more or {})
        async with sent(self._http, "POST", self._endpoint, headers, orjson.dumps(message)) as response:
            check_status(response)


def _endpoint(url: URL, data: bytes) -> URL:
    """Return where a stream's requests go, which is on the same server: our credentials are for no other."""
    try:
        endpoint = web_url(data.decode(), base=url)
    except (FetchError, UnicodeError) as error:
        raise json_rpc.not_mcp() from error
    if endpoint.origin() != url.origin():
        raise json_rpc.not_mcp()
    return endpoint
