"""A session with an MCP server, over one of the transports that the library speaks."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

import anyio
from mcp import ClientSession, McpError
from mcp.types import CONNECTION_CLOSED, ClientRequest, Implementation
from pydantic import BaseModel, ValidationError

from turnstream_worker.tools.background import Background
from turnstream_worker.tools.mcp_errors import (
    BrokenError,
    LateError,
    SessionGoneError,
    TooLargeError,
    not_mcp,
    refused,
)
from turnstream_worker.tools.mcp_events import CLOSED
from turnstream_worker.tools.mcp_exchange import Exchange
from turnstream_worker.tools.mcp_wire import Wire

INITIALIZE_LIMIT = 256 << 10  # bytes of its answer
_OPENING = -1  # in place of a request's id


class McpConnection:
    """Asks a server, any number of requests at a time. Whatever goes wrong with one is that one's ToolError."""

    def __init__(self, wire: Wire, background: Background) -> None:
        """Begin to connect."""
        self._wire = wire
        self._background = background
        self._last_words = Background()  # on calls that are not wanted any more
        self._opened, self._closing = asyncio.Event(), asyncio.Event()
        self._session: _Session
        self._task = asyncio.create_task(self._live())

    async def open(self, patience: float) -> None:
        """Agree with the server on a version of the protocol, which may take so many seconds."""
        async with self._exchange(Exchange(_OPENING, patience, INITIALIZE_LIMIT)):
            await self._opened.wait()
        async with self._exchange(Exchange(self._session.next_id, patience, INITIALIZE_LIMIT)):
            try:
                await self._session.initialize()
            except RuntimeError as error:  # the library's, about a version that it does not speak
                raise not_mcp() from error

    async def ask[Result: BaseModel](
        self, request: ClientRequest, result: type[Result], patience: float, limit: int, key: str | None = None
    ) -> Result:
        """Return a request's result; one that is given up before its answer came is taken back.

        It may take `patience` seconds and `limit` bytes; `key` is the idempotency key of a call.
        """
        # Nothing else runs until the session has given this id to the request.
        exchange = Exchange(self._session.next_id, patience, limit, key)
        try:
            async with self._exchange(exchange):
                return await self._session.send_request(request, result)
        except (asyncio.CancelledError, LateError, TooLargeError):
            # The server goes on with it until it is told.
            self._last_words.start("take_back", self._wire.take_back(exchange))
            raise

    def close(self) -> None:
        """End the session and close the connections, in the background."""
        self._closing.set()
        if not self._opened.is_set():
            self._task.cancel()
        self._background.start("disconnect", asyncio.wait([self._task]))

    async def _live(self) -> None:
        """Hold what the library has opened, which is to be closed by the task that opened it."""
        try:
            async with (
                self._wire.transport() as (read, write, *_),
                _Session(read, write, client_info=_introduction()) as self._session,
            ):
                self._opened.set()
                await self._closing.wait()
                await self._last_words.close()
        except ExceptionGroup:
            pass  # the wire has seen what is in it
        finally:
            self._wire.break_off(BrokenError())
            await self._last_words.close()
            await self._wire.aclose()

    @asynccontextmanager
    async def _exchange(self, exchange: Exchange) -> AsyncIterator[None]:
        """Have the wire carry what is asked in this context, as long as the exchange lasts."""
        with self._wire.carrying(exchange):
            try:
                async with exchange.lasting():
                    yield
            except McpError as error:
                raise exchange.failure or _told(error) from error
            except ValidationError as error:
                raise not_mcp() from error
            except (anyio.ClosedResourceError, anyio.BrokenResourceError) as error:
                raise (BrokenError() if exchange.sent else SessionGoneError()) from error


class _Session(ClientSession):
    """Tells which id it gives to the next request, so that it can be taken back."""

    @property
    def next_id(self) -> int:
        return self._request_id


def _introduction() -> Implementation:
    return Implementation(name="turnstream", version=version("turnstream-worker"))


def _told(error: McpError) -> Exception:
    closed = error.error.code == CONNECTION_CLOSED and error.error.message == CLOSED
    return BrokenError() if closed else refused(error.error.message)
