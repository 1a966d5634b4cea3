"""The web search, by whichever provider there is a key for."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal

from yarl import URL

from turnstream.logs import log
from turnstream_worker.settings import WorkerSettings
from turnstream_worker.tools.tool import OnUncertain, ToolError, ToolResult

NAME = "web_search"

_PROVIDERS = ("brave", "tavily")  # in this order, where there are keys for both
# Results by the request's search_context_size.
_COUNTS = {"low": 3, "medium": 5, "high": 10}
_PARAMETERS = {
    "type": "object",
    "properties": {"query": {"type": "string", "description": "What to search for"}},
    "required": ["query"],
    "additionalProperties": False,
}

type Search = Callable[[str, str, int], Awaitable[list[dict[str, Any]]]]
"""Returns what is found by a key, a query and a number of results; raises ToolError."""


@dataclass(frozen=True, slots=True)
class SearchKeys:
    """The keys of the search providers: a request's own come before the operator's."""

    operators: dict[str, str] = field(repr=False)  # by provider

    @classmethod
    def of(cls, settings: WorkerSettings) -> "SearchKeys":
        """Read the operator's keys."""
        keys = {"brave": settings.brave_search_api_key, "tavily": settings.tavily_search_api_key}
        return cls({provider: key.get_secret_value() for provider, key in keys.items() if key})

    def choose(self, secrets: dict[str, Any]) -> tuple[str, str] | None:
        """Return a provider and the key to it, None if there is none."""
        given = secrets.get("provider_data") or {}
        requests = {provider: given.get(f"{provider}_search_api_key") for provider in _PROVIDERS}
        for keys in (requests, self.operators):
            for provider in _PROVIDERS:
                if key := keys.get(provider):
                    return provider, key
        return None


@dataclass(frozen=True, slots=True)
class WebSearch:
    """Searches the web as a request's tool asks for it.

    The providers know neither its `user_location` nor `allowed_domains`: what is found elsewhere is left out here.
    """

    name: str
    asked: dict[str, Any]
    chosen: tuple[str, str] | None = field(repr=False)  # a provider and its key
    timeout: float  # seconds
    output_limit: int  # bytes
    on_uncertain: OnUncertain = "retry"
    needs_approval: bool = False
    kind: Literal["web_search_call"] = "web_search_call"

    @property
    def definition(self) -> dict[str, Any]:
        """What the model is told of it."""
        return {"name": self.name, "description": "Search the web for information.", "parameters": _PARAMETERS}

    @property
    def shown(self) -> dict[str, Any]:
        """Nothing: a search's item shows its query alone."""
        return {}

    async def call(self, arguments: dict[str, Any], key: str) -> ToolResult:
        """Search for `arguments["query"]`; a search changes nothing, so the idempotency key is of no use."""
        del key
        try:
            async with asyncio.timeout(self.timeout):
                results = await self._search(arguments.get("query"))
        except ToolError as error:
            log.info("tool.failed", tool=NAME, reason=error.reason)
            return ToolResult(error.message, failed=True)
        except TimeoutError:
            return ToolResult(f"The web search did not answer within {self.timeout:g} seconds.", failed=True)
        return ToolResult(_told(results) or "Nothing was found.", results=results)

    async def _search(self, query: Any) -> list[dict[str, Any]]:
        if not isinstance(query, str) or not query.strip():
            raise ToolError("The search needs a 'query' that is a text.", reason="bad_arguments")
        if not self.chosen:
            message = "The web search is not set up: there is no API key for Brave or Tavily."
            raise ToolError(message, reason="no_key")
        provider, key = self.chosen
        stack_search = await asyncio.to_thread(import_module, "turnstream_worker.tools.stack_search")
        search: Search = getattr(stack_search, provider)
        found = await search(key, query, _COUNTS[self.asked.get("search_context_size") or "medium"])
        return self._within_limit([result for result in found if self._is_allowed(result["url"])])

    def _is_allowed(self, url: str) -> bool:
        """Tell whether a result is of an allowed domain, or of one below it; all are allowed where none is named."""
        domains = (self.asked.get("filters") or {}).get("allowed_domains")
        if not domains:
            return True
        try:
            host = URL(url).host or ""
        except ValueError:
            return False
        return any(host == domain or host.endswith(f".{domain}") for domain in map(str.lower, domains))

    def _within_limit(self, results: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Leave out the last results where all are too much."""
        while len(_told(results).encode()) > self.output_limit:
            results = results[:-1]
        return results


def _told(results: list[dict[str, Any]]) -> str:
    return "\n\n".join(f"{result['title']}\n{result['url']}\n{result['snippet']}" for result in results)
