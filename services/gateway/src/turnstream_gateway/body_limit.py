"""Refuse bodies that are too large before they are read, or as soon as they turn out to be.

FastAPI's own limit answers with plain text, which no client of this API can read.
"""

from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from turnstream.errors import TooLargeError


class BodyLimit:
    """ASGI middleware that lets through `limit` bytes of a request's body."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 413."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._limit:
            await self._refuse(scope, receive, send)
            return
        if length != b"0":  # said beforehand, and the server holds the client to it
            await self._app(scope, receive, send)
            return
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._limit:
                # FastAPI turns any other error of reading a body into a 400.
                raise HTTPException(TooLargeError.status, self._message())
            return message

        await self._app(scope, counted, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = TooLargeError(self._message(), code="body_too_large")
        await JSONResponse(error.body(), error.status)(scope, receive, send)

    def _message(self) -> str:
        return f"The request's body is larger than {self._limit} bytes."
