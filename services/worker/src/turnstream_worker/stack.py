"""The one interface to Llama Stack: which models there are, and a streamed chat completion of one of them."""

from collections.abc import AsyncIterator
from typing import Any, Protocol

import aiohttp

from turnstream.errors import ModelError
from turnstream_worker.chat_stream import Chunk, Endpoint, stream_chat
from turnstream_worker.settings import WorkerSettings

CONNECT_TIMEOUT = 10  # seconds to reach a model's provider
LIST_TIMEOUT = 10  # seconds to list a server's models


class Stack(Protocol):
    """Llama Stack, wherever it runs."""

    async def models(self) -> list[dict[str, Any]]:
        """Return the models, each in the shape of `/v1/models`."""

    def chat(self, request: dict[str, Any]) -> AsyncIterator[list[Chunk]]:
        """Yield the chunks of a chat completion, those that arrived together as one list; raise ModelError."""

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
        url = f"{self._endpoint.base_url}/models"
        try:
            async with self._session.get(url, timeout=aiohttp.ClientTimeout(total=LIST_TIMEOUT)) as response:
                response.raise_for_status()
                listed = (await response.json())["data"]
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError) as error:
            raise ModelError("The Llama Stack server does not list its models.") from error
        return [described(model["id"], model.get("custom_metadata") or {}) for model in listed]

    def chat(self, request: dict[str, Any]) -> AsyncIterator[list[Chunk]]:
        """Yield the chunks of a chat completion."""
        return stream_chat(self._session, self._endpoint, request)

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()


def new_session(settings: WorkerSettings) -> aiohttp.ClientSession:
    """Return an HTTP client for models: it waits `model_timeout` seconds for each next byte, and never in all."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT, sock_read=settings.model_timeout)
    # A connection for each turn that may run, and keep-alive for the next one.
    return aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=settings.concurrency))


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
