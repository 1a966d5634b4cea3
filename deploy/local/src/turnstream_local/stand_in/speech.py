"""Sending one answer, token by token and on time, with whatever failure was ordered."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, NoReturn

from turnstream_local.stand_in.answers import STAMP, Answer
from turnstream_local.stand_in.chat_request import ChatRequest
from turnstream_local.stand_in.chunks import CHAT, Form, error_frame
from turnstream_local.stand_in.pacer import Pacer
from turnstream_local.stand_in.script import ScriptedError

type Message = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[Message]]
type Send = Callable[[Message], Awaitable[None]]

STREAM_START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")],
}


class Speech:
    """One answer on its way to one client."""

    def __init__(  # noqa: PLR0913 - what is said, and the means to say it
        self,
        request: ChatRequest,
        answer: Answer,
        pacer: Pacer,
        send: Send,
        cut: Callable[[], None] | None,
        *,
        form: Form = CHAT,
    ) -> None:
        self._request = request
        self._answer = answer
        self._pacer = pacer
        self._send = send
        self._cut = cut
        self._form = form
        self._start = pacer.now() + answer.pace.first_delay

    async def run(self) -> None:
        """Send it all."""
        if self._answer.pace.first_delay:
            await self._pacer.at(self._start)
        error = self._answer.error
        if error and (error.after_tokens == 0 or not self._request.stream):
            await self._fail_at_once(error)
        elif self._request.stream:
            await self._stream()
        else:
            await self._whole()

    async def _stream(self) -> None:
        frames = self._form.frames(self._request, self._answer)
        error, delay, send = self._answer.error, self._answer.pace.delay, self._send
        stamped = bool(self._request.directive.get("stamp"))
        await send(dict(STREAM_START))
        for position, frame in enumerate(frames.tokens()):
            if error and position == error.after_tokens:
                break
            # A token's time counts from the start, not from the token before, so that delays do not add up.
            if delay and position:
                await self._pacer.at(self._start + position * delay)
            body = _stamp(frame) if stamped else frame
            await send({"type": "http.response.body", "body": body, "more_body": True})
            # With no delay too, the other streams go between two tokens.
            if not delay:
                await asyncio.sleep(0)
        if error:
            await self._fail_midway(error)
            return
        if self._answer.hang:
            await _forever()
        await send({"type": "http.response.body", "body": frames.ending()})

    async def _whole(self) -> None:
        tokens = self._answer.completion_tokens
        await self._pacer.at(self._start + max(0, tokens - 1) * self._answer.pace.delay)
        if self._answer.hang:
            await _forever()
        await send_json(self._send, self._form.whole(self._request, self._answer))

    async def _fail_at_once(self, error: ScriptedError) -> None:
        if error.kind == "drop":
            await self._drop()
        raise error.to_api_error()

    async def _fail_midway(self, error: ScriptedError) -> None:
        if error.kind == "drop":
            await self._drop()
        await self._send({"type": "http.response.body", "body": error_frame(error.to_api_error())})

    async def _drop(self) -> NoReturn:
        # One round lets the last token's write reach the socket.
        await asyncio.sleep(0)
        if self._cut is None:
            message = "this server cannot drop a connection"
            raise RuntimeError(message)
        self._cut()
        await _forever()


async def send_json(send: Send, body: Any, status: int = 200, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
    """Send a whole response of JSON."""
    encoded = json.dumps(body).encode()
    kind = (b"content-type", b"application/json")
    length = (b"content-length", str(len(encoded)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [kind, length, *headers]})
    await send({"type": "http.response.body", "body": encoded})


def _stamp(frame: bytes) -> bytes:
    """Fill in the time, in milliseconds since the epoch."""
    return frame.replace(STAMP.encode(), f" {time.time_ns() // 1_000_000}".encode())


async def _forever() -> NoReturn:
    """Wait until cancelled: the client has left."""
    while True:
        await asyncio.get_running_loop().create_future()
