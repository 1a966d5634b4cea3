"""Sends every stream's tokens at their time, with one timer for all that are due together."""

import asyncio
import math
from collections.abc import Awaitable


class Pacer:
    """Wakes those who wait at whole milliseconds: 300 streams share a timer, where each having its own costs more."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._due: dict[int, list[asyncio.Future[None]]] = {}

    def now(self) -> float:
        """Give the clock that `at` counts by, in seconds."""
        return self._loop.time()

    def at(self, time: float) -> Awaitable[None]:
        """Wait until a time, in seconds; one that has passed lets the other streams go first."""
        tick = math.ceil(time * 1000)
        waiting = self._due.get(tick)
        if waiting is None:
            waiting = self._due[tick] = []
            self._loop.call_at(tick / 1000, self._ring, tick)
        future = self._loop.create_future()
        waiting.append(future)
        return future

    def _ring(self, tick: int) -> None:
        for future in self._due.pop(tick):
            if not future.done():
                future.set_result(None)
