"""The one interface to Llama Stack: which models and providers there are, and what they answer."""

from collections.abc import AsyncGenerator, AsyncIterator
from enum import StrEnum
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit

import aiohttp

from turnstream.errors import ModelError
from turnstream_worker.chat_stream import Chunk, stream_chat
from turnstream_worker.endpoint import Endpoint
from turnstream_worker.raw_answer import raw_answer
from turnstream_worker.settings import WorkerSettings

CONNECT_TIMEOUT = 10  # seconds to reach a model's provider
LIST_TIMEOUT = 10  # seconds to list what a server has
SHOWN_CONFIG = ("base_url", "allowed_models", "refresh_models", "max_tokens")  # of a provider: nothing that is secret


class Operation(StrEnum):
    """What a client may ask of a model directly, by its path."""

    CHAT = "chat/completions"
    COMPLETIONS = "completions"
    EMBEDDINGS = "embeddings"


class Stack(Protocol):
    """Llama Stack, wherever it runs."""

    async def models(self) -> list[dict[str, Any]]:
        """Return the models, each in the shape of `/v1/models`."""

    async def providers(self) -> list[dict[str, Any]]:
        """Return the providers, each in the shape of `/v1/providers`, without their secrets."""

    def chat(self, request: dict[str, Any]) -> AsyncIterator[list[Chunk]]:
        """Yield the chunks of a chat completion, those that arrived together as one list; raise ModelError."""

    def answer(self, operation: Operation, request: dict[str, Any]) -> AsyncGenerator[bytes]:
        """Yield the bytes that a provider answers a request with, as `raw_answer` does; raise ModelError."""

    async def close(self) -> None:
        """Give up connections and files."""


async def open_stack(settings: WorkerSettings) -> Stack:
    """Return the stack that the settings name."""
    if settings.llama_stack_url:
        return RemoteStack(settings.llama_stack_url, new_session(settings))
    # Seconds of imports, which the worker of a remote stack is spared.
    from turnstream_worker.embedded_stack import EmbeddedStack  # noqa: PLC0415

    return await EmbeddedStack.boot(settings)


class RemoteStack:
    """A Llama Stack server, or one that serves the same OpenAI endpoints."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._endpoint = Endpoint(f"{url.rstrip('/')}/v1", {"content-type": "application/json"})
        self._session = session

    async def models(self) -> list[dict[str, Any]]:
        """Return the server's models; raise ModelError if it does not answer."""
        return [described(model["id"], model.get("custom_metadata") or {}) for model in await self._list("models")]

    async def providers(self) -> list[dict[str, Any]]:
        """Return the server's providers, none if it knows no such thing; raise ModelError if it does not answer."""
        return [described_provider(provider) for provider in await self._list("providers", optional=True)]

    def chat(self, request: dict[str, Any]) -> AsyncIterator[list[Chunk]]:
        """Yield the chunks of a chat completion."""
        return stream_chat(self._session, self._endpoint, request)

    def answer(self, operation: Operation, request: dict[str, Any]) -> AsyncGenerator[bytes]:
        """Yield what the server answers."""
        return raw_answer(self._session, self._endpoint, operation, request)

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def _list(self, what: str, *, optional: bool = False) -> list[dict[str, Any]]:
        url = f"{self._endpoint.base_url}/{what}"
        try:
            async with self._session.get(url, timeout=aiohttp.ClientTimeout(total=LIST_TIMEOUT)) as response:
                if optional and response.status == HTTPStatus.NOT_FOUND:
                    return []
                response.raise_for_status()
                listed: list[dict[str, Any]] = (await response.json())["data"]
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError) as error:
            raise ModelError(f"The Llama Stack server does not list its {what}.", retry_after=0.0) from error
        return listed


def new_session(settings: WorkerSettings) -> aiohttp.ClientSession:
    """Return an HTTP client for models: it waits `model_timeout` seconds for each next byte, and never in all."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT, sock_read=settings.model_timeout)
    # A connection for each turn that may run and each call that may be passed through, and keep-alive for the next one.
    connections = settings.concurrency + settings.pass_through
    return aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=connections))


def described(name: str, metadata: dict[str, Any], model: Any = None) -> dict[str, Any]:
    """Return a model in both shapes that clients read: Llama Stack's and OpenAI's."""
    kind = str(model.model_type) if model else str(metadata.pop("model_type", "llm"))
    provider = str(model.provider_id) if model else str(metadata.pop("provider_id", "llama-stack"))
    resource = str(model.provider_resource_id) if model else str(metadata.pop("provider_resource_id", name))
    return {
        "id": name,
        "object": "model",
        "created": 0,
        "owned_by": "llama_stack",
        "custom_metadata": {
            "model_type": kind,
            "provider_id": provider,
            "provider_resource_id": resource,
            **metadata,
        },
        "identifier": name,
        "model_type": kind,
        "provider_id": provider,
        "provider_resource_id": resource,
        "type": "model",
        "metadata": metadata,
    }


def described_provider(provider: dict[str, Any]) -> dict[str, Any]:
    """Return a provider in Llama Stack's shape, with nothing of its configuration but what anybody may know."""
    config = provider.get("config") or {}
    shown = {name: config[name] for name in SHOWN_CONFIG if config.get(name) is not None}
    if "base_url" in shown:
        shown["base_url"] = _without_credentials(str(shown["base_url"]))
    return {
        "api": provider["api"],
        "provider_id": provider["provider_id"],
        "provider_type": provider["provider_type"],
        "config": shown,
        "health": {"status": (provider.get("health") or {}).get("status", "Not Implemented")},
    }


def _without_credentials(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
