"""One endpoint of a NATS micro service. nats-py's own awaits each request before it looks at the next."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import orjson
from nats.micro.request import Request

from turnstream.bus import failures
from turnstream.bus.connection import AWAY
from turnstream.errors import ApiError, TurnError
from turnstream.logs import fault, log

AT_ONCE = 64  # requests in hand; others wait, and their askers give up when they have waited long enough


class Endpoint:
    """Answers requests beside each other, as many as AT_ONCE says."""

    def __init__(self, subject: str, answer: Callable[[Any], Awaitable[Any]], max_payload: int) -> None:
        self._subject = subject
        self._answer = answer
        self._max_payload = max_payload  # bytes
        self._room = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    async def handle(self, request: Request) -> None:
        """Take a request once there is room for it."""
        await self._room.acquire()
        task = asyncio.create_task(self._respond(request), name="service")
        self._tasks.add(task)
        task.add_done_callback(self._on_done)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._room.release()

    async def _respond(self, request: Request) -> None:
        with suppress(*AWAY):  # whoever asked gives up by itself
            try:
                data = orjson.dumps(await self._answer(orjson.loads(request.data)))
            except (ApiError, TurnError) as error:
                await request.respond_error("400", type(error).__name__, failures.encode(error))
            except Exception as error:  # noqa: BLE001 - one request's fault is logged, told, and ends that request
                log.error("service.failed", subject=self._subject, **fault(error))
                await request.respond_error("500", "failed")
            else:
                await self._send(request, data)

    async def _send(self, request: Request, data: bytes) -> None:
        if len(data) <= self._max_payload:
            await request.respond(data)
        else:
            log.error("service.too_large", subject=self._subject, bytes=len(data))
            await request.respond_error("500", "too large")
