"""Calls that go straight to a model, through a worker and without a queue, and whose answers come back as they are.

Nothing of them is kept: a call ends with its client's connection, and with its worker.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from turnstream import subjects
from turnstream.bus import Answer, Bus
from turnstream.errors import ApiError, BusUnavailableError, TurnError, UnavailableError
from turnstream.logs import log
from turnstream_gateway.calls import Call
from turnstream_gateway.event_stream import HEADERS, KEEPALIVE
from turnstream_gateway.models import Models

type Relay = Callable[[Answer, Send], Awaitable[None]]

JSON = (b"content-type", b"application/json")
DONE = re.compile(rb"^data: ?\[DONE\]\r?\n\r?\n", re.MULTILINE)


class PassThrough:
    """Passes calls on to whichever worker has room."""

    def __init__(self, bus: Bus, models: Models, keepalive: float) -> None:
        self._bus = bus
        self._models = models
        self._keepalive = keepalive  # seconds of silence on a stream before its client is told that it goes on

    async def answer(self, operation: str, call: Call, body: bytes, *, says_done: bool = True) -> Response:
        """Return the answer to a call, whose body goes on as it came; raise NotFoundError for an unknown model.

        `says_done` tells whether a stream ends with [DONE], as OpenAI's do.
        """
        await self._models.check(call.model)
        relay = partial(_stream, keepalive=self._keepalive, says_done=says_done) if call.stream else _whole
        return _Answered(self._bus, subjects.inference(operation), body, relay)


class _Answered(Response):
    """A response that a worker gives. Until the model's provider has taken the call, a refusal can be a status."""

    def __init__(self, bus: Bus, subject: str, call: bytes, relay: Relay) -> None:
        super().__init__()
        self._bus = bus
        self._subject = subject
        self._call = call
        self._relay = relay

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Take the call to a worker and send what it answers, until that ends or the client goes."""
        try:
            async with self._bus.stream(self._subject, self._call) as answer:
                gone = asyncio.create_task(_client_gone(receive, answer), name="pass_through.gone")
                try:
                    await answer.begin()
                    await self._relay(answer, send)
                finally:
                    gone.cancel()
        except BusUnavailableError as error:
            log.warning("pass_through.not_taken", subject=self._subject, error=str(error))
            raise UnavailableError("No worker could take the call. Try again.") from error


async def _stream(answer: Answer, send: Send, *, keepalive: float, says_done: bool) -> None:
    """Send events as they come; a failure is an event too, as OpenAI's own streams have it."""
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    last = b"\n"
    try:
        async for last in _said(answer, keepalive):
            body = last if says_done else DONE.sub(b"", last)
            await send({"type": "http.response.body", "body": body, "more_body": True})
    except (ApiError, TurnError, BusUnavailableError) as error:
        if not last.endswith(b"\n"):
            return  # in the middle of an event nothing can be said but by breaking off
        frame = b"data: %b\n\n" % orjson.dumps(_shown(error).body())
        await send({"type": "http.response.body", "body": frame, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _said(answer: Answer, keepalive: float) -> AsyncIterator[bytes]:
    """Yield what comes, and a sign of life where nothing does."""
    while True:
        try:
            data = await answer.next(keepalive)
        except TimeoutError:
            data = KEEPALIVE
        if data is None:
            return
        yield data


async def _whole(answer: Answer, send: Send) -> None:
    """Send an answer that is one thing; a failure in the middle of it breaks the connection off."""
    data = await answer.next()
    length = [(b"content-length", b"%d" % len(data or b""))] if answer.whole else []
    await send({"type": "http.response.start", "status": 200, "headers": [JSON, *length]})
    try:
        while data is not None:
            await send({"type": "http.response.body", "body": data, "more_body": True})
            data = await answer.next()
    except (ApiError, TurnError, BusUnavailableError) as error:
        _shown(error)
    else:
        await send({"type": "http.response.body", "body": b""})


def _shown(error: ApiError | TurnError | BusUnavailableError) -> ApiError | TurnError:
    """Log what broke an answer off, and return what its client is told."""
    log.warning("pass_through.broken_off", error=type(error).__name__)
    if isinstance(error, BusUnavailableError):
        return UnavailableError("The worker was lost in the middle of its answer. Try again.")
    return error


async def _client_gone(receive: Receive, answer: Answer) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    answer.stop()
