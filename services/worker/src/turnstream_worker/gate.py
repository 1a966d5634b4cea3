"""The gate of a worker's turns: they run side by side, until one has to be alone."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class Gate:
    """Lets turns in side by side. While one is alone, or waits for that, it lets in no other."""

    def __init__(self) -> None:
        self._inside = 0
        self._loners = 0  # of those inside: that are alone or wait for it
        self._waiting = 0  # of the loners: that wait
        self._changed = asyncio.Event()

    async def opened(self) -> None:
        """Wait until it is open."""
        await self._until(lambda: not self._loners)

    @asynccontextmanager
    async def beside(self) -> AsyncIterator[None]:
        """Come in beside the others, once it is open."""
        await self.opened()
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1
            self._changed.set()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[asyncio.Task[None]]:
        """Close it behind one that is inside; yield what is done once that one is alone, and may be cancelled."""
        self._loners += 1
        waiting = asyncio.create_task(self._others_gone(), name="gate.alone")
        try:
            yield waiting
        finally:
            waiting.cancel()
            self._loners -= 1
            self._changed.set()

    async def _others_gone(self) -> None:
        self._waiting += 1
        self._changed.set()
        try:
            await self._until(lambda: self._inside == self._waiting)
        finally:
            self._waiting -= 1

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed.clear()
            await self._changed.wait()
