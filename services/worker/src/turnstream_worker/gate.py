"""The gate of a worker's turns: they run side by side, until one has to be alone."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class Gate:
    """Lets turns in side by side. While one is alone, or waits for the others to go, it lets in no other."""

    def __init__(self) -> None:
        self._inside = 0  # but for those that wait to be alone
        self._loner: asyncio.Task[bool] | None = None  # by which one waits to be alone, or has waited
        self._changed = asyncio.Event()

    async def opened(self, within: float) -> bool:
        """Wait until it is open, for at most `within` seconds; tell whether it is."""
        try:
            async with asyncio.timeout(within):
                await self._until(lambda: self._loner is None)
        except TimeoutError:
            return False
        return True

    @asynccontextmanager
    async def beside(self, within: float) -> AsyncIterator[bool]:
        """Come in beside the others if it opens in `within` seconds; yield whether it did."""
        if not await self.opened(within):
            yield False
            return
        self._inside += 1
        try:
            yield True
        finally:
            self._inside -= 1
            self._changed.set()

    @asynccontextmanager
    async def alone(self, within: float) -> AsyncIterator[asyncio.Task[bool]]:
        """Close it behind one that is inside, once it is open; yield what ends when that one is alone.

        This results in False if it is closed for `within` seconds behind another one, and may be cancelled.
        """
        loner = asyncio.create_task(self._leave_others_behind(within), name="gate.alone")
        try:
            yield loner
        finally:
            loner.cancel()
            if self._loner is loner:
                self._loner = None
                self._changed.set()

    async def _leave_others_behind(self, within: float) -> bool:
        self._inside -= 1
        self._changed.set()
        try:
            if not await self.opened(within):
                return False
            self._loner = asyncio.current_task()
            await self._until(lambda: self._inside == 0)
            return True
        finally:
            self._inside += 1

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed.clear()
            await self._changed.wait()
