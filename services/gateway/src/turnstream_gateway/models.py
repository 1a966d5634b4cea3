"""The models that the workers' Llama Stack offers, asked of any of them and kept for a moment."""

import asyncio
from collections import Counter
from typing import Any

from turnstream import subjects
from turnstream.bus import Bus
from turnstream.errors import BusUnavailableError, NotFoundError, UnavailableError

ANSWER_WITHIN = 2  # seconds


class Models:
    """The list of models, asked for at most once in `ttl` seconds."""

    def __init__(self, bus: Bus, ttl: float) -> None:
        self._bus = bus
        self._ttl = ttl
        self._asking = asyncio.Lock()
        self._known: list[dict[str, Any]] = []
        self._names: set[str] = set()
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
                self._names = _names(self._known)
                self._good_until = loop.time() + self._ttl
        return self._known

    async def get(self, model: str) -> dict[str, Any]:
        """Return a model; raise NotFoundError if there is none of this id."""
        for known in await self.list():
            if known["id"] == model:
                return known
        raise NotFoundError(f"Model '{model}' was not found.", code="model_not_found")

    async def check(self, name: str) -> None:
        """Raise NotFoundError if there is no model of this name, as far as can be told: without a worker it cannot."""
        if name in self._names:
            return  # however long ago: the worker looks again
        try:
            await self.list()
        except UnavailableError:
            return
        if name not in self._names:
            message = f"The model '{name}' does not exist; /v1/models lists those that do."
            raise NotFoundError(message, code="model_not_found", param="model")


def _names(models: list[dict[str, Any]]) -> set[str]:
    """Return what models may be called: as listed, `provider/model`, and `model` where just one provider has it."""
    alone = Counter(model["provider_resource_id"] for model in models)
    return {
        name
        for model in models
        for name in (
            model["id"],
            f"{model['provider_id']}/{model['provider_resource_id']}",
            *([model["provider_resource_id"]] if alone[model["provider_resource_id"]] == 1 else []),
        )
    }
