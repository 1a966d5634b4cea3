"""The providers that the workers' Llama Stack is configured with, asked of any of them and kept for a moment."""

from typing import Any

from turnstream import subjects
from turnstream.bus import Bus
from turnstream.errors import NotFoundError
from turnstream_gateway.listed import Listed

ANSWER_WITHIN = 5.0  # seconds: Llama Stack asks each provider how it is, for three at most


class Providers:
    """The list of providers."""

    def __init__(self, bus: Bus, ttl: float) -> None:
        self._listed = Listed(bus, subjects.STACK_PROVIDERS, ANSWER_WITHIN, ttl)

    async def list(self) -> list[dict[str, Any]]:
        """Return the providers; raise UnavailableError if no worker answers."""
        return await self._listed.get()

    async def get(self, provider: str) -> dict[str, Any]:
        """Return a provider; raise NotFoundError if there is none of this id."""
        for known in await self.list():
            if known["provider_id"] == provider:
                return known
        raise NotFoundError(f"Provider '{provider}' was not found.", code="provider_not_found")
