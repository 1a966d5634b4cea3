"""uvicorn's HTTP protocol, with the limits that it leaves to a proxy in front, and its refusals in OpenAI's shape.

Nobody has been asked for a key at this point: what a connection may take here is all that a stranger gets.
"""

import asyncio
from http import HTTPStatus
from typing import Any, cast

from fastapi.responses import JSONResponse
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from turnstream.errors import InvalidRequestError

# Bytes of a request that are not its body: headers, trailers, the framing of chunks. The parser keeps the first two.
# What a connection is read by at a time, 250 kB at most, may come on top.
OVERHEAD_LIMIT = 64 << 10


class HttpProtocol(HttpToolsProtocol):
    """One connection, each of whose requests must be complete within `request_timeout` seconds."""

    def __init__(self, request_timeout: float, **uvicorns: Any) -> None:
        super().__init__(**uvicorns)
        self._request_timeout = request_timeout
        self._deadline: asyncio.TimerHandle | None = None
        self._overhead = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's is
        """Begin with a connection, and wait no longer for its first request than for all of it."""
        super().connection_made(transport)
        self._await_request()

    def data_received(self, data: bytes) -> None:
        """Read on, within the limits."""
        if self._deadline is None:
            self._await_request()
        self._overhead += len(data)
        super().data_received(data)
        if self._overhead > OVERHEAD_LIMIT:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "The request's headers are too large.")

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._overhead -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Be done with reading a request."""
        self._overhead = 0
        self._stop_waiting()
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Be done with the connection."""
        self._stop_waiting()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP."""
        self._refuse(HTTPStatus.BAD_REQUEST, msg)

    def _await_request(self) -> None:
        self._deadline = self.loop.call_later(self._request_timeout, self._expire)

    def _expire(self) -> None:
        cycle = self._cycle()
        if cycle and not (cycle.more_body or cycle.response_complete):
            # What came behind a request that is being answered, be it a stray line end, must not cost it its answer.
            self._await_request()
            return
        message = f"The request was not complete within {self._request_timeout:g} seconds."
        self._refuse(HTTPStatus.REQUEST_TIMEOUT, message)

    def _stop_waiting(self) -> None:
        if self._deadline:
            self._deadline.cancel()
            self._deadline = None

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        """Answer and hang up; only hang up where an answer would garble another, or belong to no request."""
        if self._overhead and not self._answering() and not self.transport.is_closing():
            error = InvalidRequestError(message, code=status.phrase.lower().replace(" ", "_"))
            answer = JSONResponse(error.body(), status, {"connection": "close"})
            headers = [b"%b: %b\r\n" % header for header in (*self.server_state.default_headers, *answer.raw_headers)]
            self.transport.write(b"".join([STATUS_LINE[status], *headers, b"\r\n", answer.body]))
        self.transport.close()

    def _answering(self) -> bool:
        cycle = self._cycle()
        if cycle is None:
            return False
        # A cycle with another scope is the last request's, and this one's headers are not complete.
        return cycle.response_started if cycle.scope is self.scope else not cycle.response_complete

    def _cycle(self) -> RequestResponseCycle | None:
        return cast("RequestResponseCycle | None", self.cycle)  # none before the first request's headers are complete
