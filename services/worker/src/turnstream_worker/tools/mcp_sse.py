"""The wire of MCP's first transport, HTTP with server-sent events: one stream that all answers come by.

https://modelcontextprotocol.io/specification/2024-11-05/basic/transports#http-with-sse
"""

from collections.abc import AsyncGenerator

import httpcore
import httpx
from mcp.client.sse import sse_client

from turnstream_worker.tools.guarded_http import media_type, read
from turnstream_worker.tools.mcp_errors import TooLargeError
from turnstream_worker.tools.mcp_events import Pieces
from turnstream_worker.tools.mcp_wire import Transport, Wire, acknowledged, number
from turnstream_worker.tools.tool import ToolError

OPENING_LIMIT = 64 << 10  # bytes before anything is asked


class SseWire(Wire):
    """Carries the stream, and questions, which are acknowledged."""

    _received = 0  # bytes since the last question

    def transport(self) -> Transport:
        """Return the library's transport, which sends its requests by this wire."""
        return sse_client(self._url, httpx_client_factory=self._client)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return an answer that the library can live with."""
        if request.method == "GET":
            return await self._listen(request)
        asked = number(request)
        return await (self._tell(request) if asked is None else self._carried(request, asked))

    async def _listen(self, request: httpx.Request) -> httpx.Response:
        try:
            answer = await self._http.send(request)
        except ToolError as error:
            self.break_off(error)
            raise
        headers = {"content-type": media_type(answer)}
        return httpx.Response(200, headers=headers, stream=Pieces(self._pieces(answer)))

    async def _carried(self, request: httpx.Request, asked: int) -> httpx.Response:
        if exchange := self._exchanges.get(asked):
            self._received = 0
            try:
                answer = await self._ask(request, exchange)
                async with exchange.lasting():
                    await acknowledged(answer)
            except ToolError as error:
                exchange.fail(error)
        return httpx.Response(202)

    async def _pieces(self, answer: httpcore.Response) -> AsyncGenerator[bytes]:
        """Yield the stream, with which the library ends the session."""
        try:
            async for piece in read(answer):
                self._received += len(piece)
                limit = max((exchange.limit for exchange in self._exchanges.values()), default=OPENING_LIMIT)
                if self._received > limit:
                    raise TooLargeError(limit)
                yield piece
        except ToolError as error:
            self.break_off(error)
        finally:
            await answer.aclose()
