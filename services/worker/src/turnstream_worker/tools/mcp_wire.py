"""What carries the library's requests to a server, and stands between it and whatever a server answers.

The library ends a whole session when one request fails, sets no limit to what it reads, and leaves some questions
without an answer. So it gets an answer to each request from here, and the exchange learns what really happened.
"""

import asyncio
import ssl
from abc import abstractmethod
from collections.abc import AsyncGenerator, Iterator
from contextlib import AbstractAsyncContextManager, aclosing, contextmanager
from typing import Any

import httpcore
import httpx
import orjson
from mcp.types import JSONRPCNotification

from turnstream.guard import Guard
from turnstream_worker.tools.guarded_http import GuardedHttp, read
from turnstream_worker.tools.mcp_address import McpAddress
from turnstream_worker.tools.mcp_errors import TooLargeError
from turnstream_worker.tools.mcp_exchange import Exchange
from turnstream_worker.tools.tool import ToolError

PATIENCE = 3  # seconds for a message that is not answered
ACKNOWLEDGEMENT_LIMIT = 64 << 10  # bytes of what is answered to it all the same

type Transport = AbstractAsyncContextManager[tuple[Any, ...]]
"""A transport of the library: while it is open, what it yields first is read from, and the second is written to."""


class Wire(httpx.AsyncBaseTransport):
    """Carries requests in exchanges; a request that belongs to none that lasts is not sent."""

    def __init__(self, address: McpAddress, guard: Guard, tls: ssl.SSLContext) -> None:
        self._url = str(address.url)
        ours = {"user-agent": "Turnstream", "accept-encoding": "identity"}
        self._headers = httpx.Headers(ours | address.headers, encoding="utf-8")
        self._http = GuardedHttp(self._url, guard, tls)
        self._exchanges: dict[int, Exchange] = {}

    @abstractmethod
    def transport(self) -> Transport:
        """Return the library's transport, which sends its requests by this wire."""

    @contextmanager
    def carrying(self, exchange: Exchange) -> Iterator[None]:
        """Carry an exchange while this context lasts."""
        self._exchanges[exchange.number] = exchange
        try:
            yield
        finally:
            del self._exchanges[exchange.number]
            exchange.end()

    @abstractmethod
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return an answer that the library can live with."""

    async def take_back(self, exchange: Exchange) -> None:
        """Tell the server that an exchange's answer is not wanted any more."""
        if not exchange.sent:
            return
        params = {"requestId": exchange.number, "reason": "It is no longer wanted."}
        note = JSONRPCNotification(jsonrpc="2.0", method="notifications/cancelled", params=params)
        headers = {
            name: value
            for name, value in exchange.sent.headers.items()
            if name not in {"content-length", "idempotency-key"}
        }
        await self._tell(httpx.Request("POST", exchange.sent.url, headers=headers, content=note.model_dump_json()))

    def break_off(self, failure: ToolError) -> None:
        """End all exchanges by an error."""
        for exchange in self._exchanges.values():
            exchange.fail(failure)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.close()

    def _client(self, *_: Any, **__: Any) -> httpx.AsyncClient:
        """Return an HTTP client for the library; times and redirects are the exchanges' and ours."""
        return httpx.AsyncClient(transport=self, headers=self._headers, timeout=None, trust_env=False)  # noqa: S113

    async def _ask(self, request: httpx.Request, exchange: Exchange) -> httpcore.Response:
        """Send the question of an exchange and return its answer."""
        if exchange.key:  # for what stands before a server
            request.headers["idempotency-key"] = exchange.key
        exchange.sent = request
        async with exchange.lasting():
            return await self._http.send(request)

    async def _tell(self, request: httpx.Request) -> httpx.Response:
        """Send what belongs to no exchange: nobody waits for what comes of it."""
        try:
            async with asyncio.timeout(PATIENCE):
                await acknowledged(await self._http.send(request))
        except (ToolError, TimeoutError):
            pass  # a server that does not want to hear it will not answer what is asked next
        return httpx.Response(204)


def number(request: httpx.Request) -> int | None:
    """Return the id of the question that a POST carries, None if it carries something else."""
    message = orjson.loads(request.content)
    return message["id"] if "method" in message and "id" in message else None


async def pieces(answer: httpcore.Response, exchange: Exchange) -> AsyncGenerator[bytes]:
    """Yield the body of an exchange's answer within its limits."""
    async with aclosing(read(answer)) as body:
        while True:
            async with exchange.lasting():
                piece = await anext(body, None)
            if piece is None:
                return
            exchange.spend(len(piece))
            yield piece


async def acknowledged(answer: httpcore.Response) -> None:
    """Read what is no answer to anything, so that the connection may be used again."""
    size = 0
    try:
        async for piece in read(answer):
            size += len(piece)
            if size > ACKNOWLEDGEMENT_LIMIT:
                raise TooLargeError(ACKNOWLEDGEMENT_LIMIT)
    finally:
        await answer.aclose()
