"""The models that the workers' Llama Stack offers, asked of any of them and kept for a moment."""

from collections import Counter
from typing import Any

from turnstream import subjects
from turnstream.bus import Bus
from turnstream.errors import NotFoundError, UnavailableError
from turnstream_gateway.listed import Listed

ANSWER_WITHIN = 2.0  # seconds


class Models:
    """The list of models."""

    def __init__(self, bus: Bus, ttl: float) -> None:
        self._listed = Listed(bus, subjects.STACK_MODELS, ANSWER_WITHIN, ttl)
        self._names: set[str] = set()

    async def list(self) -> list[dict[str, Any]]:
        """Return the models; raise UnavailableError if no worker answers."""
        models = await self._listed.get()
        self._names = _names(models)
        return models

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
