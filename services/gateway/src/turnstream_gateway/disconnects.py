"""Cancel turns that nobody reads any more, where their clients have asked for it.

Who reads such a turn, on whichever gateway, is present on the bus, and stays so while it is waited for. When its wait
is over and nobody else is there, the turn is cancelled: so the last one who has gone decides. A gateway that stops or
dies has broken its readers off itself and cancels nothing: the turns go on, and who comes back finds them.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from turnstream import subjects
from turnstream.bus import Bus
from turnstream.errors import BusUnavailableError, ConflictError, NotFoundError, StoreUnavailableError
from turnstream.logs import log
from turnstream_gateway.turns import Turns

WAITS_LIMIT = 10_000  # readers that are waited for at a time; if another one goes, its turn goes on


@dataclass(slots=True)
class Reading:
    """One client's reading of a turn."""

    broken_off: bool = False  # whether the client went before the end


class Disconnects:
    """Waits for readers to come back. To be closed before the bus is."""

    def __init__(self, bus: Bus, turns: Turns, grace: float) -> None:
        self._bus = bus
        self._turns = turns
        self._grace = grace  # seconds, where a request does not say how many
        self._waits: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def reading(self, tenant: str, turn: str, asked: Mapping[str, Any]) -> AsyncIterator[Reading]:
        """Be around the reading of a turn with these parameters, which says whether it was broken off."""
        reading = Reading()
        async with AsyncExitStack() as presence:
            cancels = asked.get("on_disconnect") == "cancel"
            if cancels:
                await presence.enter_async_context(self._bus.present(subjects.reader(turn)))
            yield reading
            if cancels and reading.broken_off:
                self._begin(tenant, turn, asked.get("disconnect_grace", self._grace), presence)

    async def close(self) -> None:
        """Wait for nobody any more."""
        for wait in tuple(self._waits):
            wait.cancel()
        await asyncio.gather(*self._waits, return_exceptions=True)

    def _begin(self, tenant: str, turn: str, grace: float, presence: AsyncExitStack) -> None:
        if len(self._waits) >= WAITS_LIMIT:
            log.warning("disconnect.not_waited", turn=turn)
            return
        wait = asyncio.create_task(self._wait(tenant, turn, grace, presence.pop_all()), name="disconnects.wait")
        self._waits.add(wait)
        wait.add_done_callback(self._waits.discard)

    async def _wait(self, tenant: str, turn: str, grace: float, presence: AsyncExitStack) -> None:
        try:
            async with presence:
                await asyncio.sleep(grace)
            if not await self._bus.anyone(subjects.reader(turn)):
                await self._turns.cancel(tenant, turn)
                log.info("disconnect.cancelled", turn=turn)
        except (ConflictError, NotFoundError):
            pass  # it has ended meanwhile
        except (BusUnavailableError, StoreUnavailableError) as error:
            log.warning("disconnect.undecided", turn=turn, error=type(error).__name__)
