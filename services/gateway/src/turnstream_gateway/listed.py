"""What the workers' Llama Stack has, asked of any of them and kept for a moment."""

import asyncio
from typing import Any

from turnstream.bus import Bus
from turnstream.errors import BusUnavailableError, ModelError, UnavailableError


class Listed:
    """A list that is asked for at most once in `ttl` seconds, by one of those who want it."""

    def __init__(self, bus: Bus, subject: str, within: float, ttl: float) -> None:
        self._bus = bus
        self._subject = subject
        self._within = within  # seconds to answer
        self._ttl = ttl
        self._asking = asyncio.Lock()
        self._known: list[dict[str, Any]] = []
        self._good_until = 0.0

    async def get(self) -> list[dict[str, Any]]:
        """Return the list; raise UnavailableError if no worker answers."""
        loop = asyncio.get_running_loop()
        async with self._asking:
            if loop.time() >= self._good_until:
                try:
                    self._known = await self._bus.ask(self._subject, self._within)
                except (BusUnavailableError, ModelError) as error:
                    raise UnavailableError("No worker is there to be asked. Try again.") from error
                self._good_until = loop.time() + self._ttl
        return self._known
