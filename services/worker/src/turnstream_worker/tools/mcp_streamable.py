"""The wire of MCP's streamable HTTP: a question is a POST, and its answer JSON or a stream of events that ends with it.

https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#streamable-http
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from http import HTTPStatus

import httpcore
import httpx
from httpx_sse import ServerSentEvent
from mcp.client.streamable_http import streamable_http_client

from turnstream_worker.tools.guarded_http import media_type
from turnstream_worker.tools.mcp_errors import BrokenError, SessionGoneError, StatusError, not_mcp
from turnstream_worker.tools.mcp_events import EVENTS, encode, last_word, read_events
from turnstream_worker.tools.mcp_exchange import Exchange
from turnstream_worker.tools.mcp_wire import Transport, Wire, number, pieces
from turnstream_worker.tools.tool import ToolError

SESSION = "mcp-session-id"
PLACE = "last-event-id"
RESUMPTIONS_LIMIT = 250  # of one answer; the library goes one call deeper at each
LEAST_DELAY, MOST_DELAY = 100, 60_000  # milliseconds before each, whatever the server says


class StreamableWire(Wire):
    """Answers each question with a stream of events."""

    def transport(self) -> Transport:
        """Return the library's transport, which sends its requests by this wire."""
        return streamable_http_client(self._url, http_client=self._client())

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return an answer that the library can live with."""
        if request.method == "POST" and (asked := number(request)) is not None:
            return await self._carried(asked, lambda exchange: self._ask(request, exchange))
        if request.method == "GET":
            return await self._resumed(request)
        return await self._tell(request)

    async def _resumed(self, request: httpx.Request) -> httpx.Response:
        """Go on with an answer; a GET for anything else is for news, of which there are none that we need."""
        asked, _, place = request.headers.get(PLACE, "").partition(" ")
        if not place:
            return httpx.Response(405)
        request.headers[PLACE] = place
        return await self._carried(int(asked), lambda exchange: self._resume(request, exchange))

    async def _carried(self, asked: int, send: Callable[[Exchange], Awaitable[httpcore.Response]]) -> httpx.Response:
        """Return the events that answer a question."""
        headers = {"content-type": EVENTS}
        exchange = self._exchanges.get(asked)
        if not exchange or exchange.failure:  # nobody waits for it any more
            return httpx.Response(200, headers=headers, content=last_word(asked))
        try:
            answer = await send(exchange)
        except ToolError as error:
            exchange.fail(error)
            return httpx.Response(200, headers=headers, content=last_word(asked))
        given = httpx.Headers(answer.headers)
        headers |= {SESSION: given[SESSION]} if SESSION in given else {}
        return httpx.Response(200, headers=headers, stream=_Answer(answer, exchange))

    async def _ask(self, request: httpx.Request, exchange: Exchange) -> httpcore.Response:
        try:
            return await super()._ask(request, exchange)
        except StatusError as error:
            if error.status == HTTPStatus.NOT_FOUND and SESSION in request.headers:
                raise SessionGoneError from error
            raise

    async def _resume(self, request: httpx.Request, exchange: Exchange) -> httpcore.Response:
        exchange.resumed += 1
        if exchange.resumed > RESUMPTIONS_LIMIT:
            raise BrokenError
        async with exchange.lasting():
            return await self._http.send(request)


class _Answer(httpx.AsyncByteStream):
    """The events of an answer, behind which there is always one that ends the library's wait.

    The library reads no further than to the first that is an answer.
    """

    def __init__(self, answer: httpcore.Response, exchange: Exchange) -> None:
        self._answer = answer
        self._exchange = exchange

    async def __aiter__(self) -> AsyncGenerator[bytes]:
        exchange, place = self._exchange, ""
        try:
            async for event in read_events(media_type(self._answer), pieces(self._answer, exchange)):
                # So that it is known what a GET goes on with.
                place = f"{exchange.number} {event.id}" if event.id else ""
                delay = None if event.retry is None else min(max(event.retry, LEAST_DELAY), MOST_DELAY)
                yield encode(ServerSentEvent(event.event, event.data, place, delay))
            if not place:
                raise not_mcp()
        except ToolError as error:
            if place and isinstance(error, BrokenError):
                return  # the library goes on behind that place
            exchange.fail(error)
            yield last_word(exchange.number)

    async def aclose(self) -> None:
        """Read no more of it."""
        await self._answer.aclose()
