"""The models that the workers' Llama Stack offers, asked of any of them and kept for a moment."""

import asyncio
from typing import Any

from turnstream import subjects
from turnstream.bus import Bus
from turnstream.errors import BusUnavailableError, NotFoundError, UnavailableError

ANSWER_WITHIN = 5  # seconds


class Models:
    """The list of models, asked for at most once in `ttl` seconds."""

    def __init__(self, bus: Bus, ttl: float) -> None:
        self._bus = bus
        self._ttl = ttl
        self._asking = asyncio.Lock()
        self._known: list[dict[str, Any]] = []
        self._good_until = 0.0

    async def list(self) -> list[dict[str, Any]]:
        """Return the models; raise UnavailableError if no worker answers."""
        loop = asyncio.get_running_loop()
        async with self._asking:
            if loop.time() >= self._good_until:
                try:
                    self._known = await self._bus.ask(subjects.STACK_MODELS, ANSWER_WITHIN)
                except BusUnavailableError as error:
                    raise UnavailableError("No worker is there to say which models it has. Try again.") from error
                self._good_until = loop.time() + self._ttl
        return self._known

    async def get(self, model: str) -> dict[str, Any]:
        """Return a model; raise NotFoundError if there is none of this id."""
        for known in await self.list():
            if known["id"] == model:
                return known
        raise NotFoundError(f"Model '{model}' was not found.", code="model_not_found")
