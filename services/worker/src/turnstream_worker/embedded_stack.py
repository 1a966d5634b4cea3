"""Llama Stack as a library in this process. The one file that imports it; it takes seconds, so it is imported late."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any, Self

import aiohttp
import yaml
from llama_stack.core.configure import parse_and_maybe_upgrade_config
from llama_stack.core.stack import Stack as Library
from llama_stack.core.stack import replace_env_vars
from llama_stack.providers.utils.inference.openai_mixin import OpenAIMixin
from llama_stack_api import Api, OpenAIChatCompletionRequestWithExtraBody
from openai import APIConnectionError, APIError, APIStatusError

from turnstream.errors import ModelError
from turnstream_worker.chat_stream import Chunk, Endpoint, stream_chat
from turnstream_worker.settings import WorkerSettings
from turnstream_worker.stack import described, new_session

MODELS_TTL = 10  # seconds that a model's name is not looked up again: the look-up is a third of a millisecond


class EmbeddedStack:
    """Llama Stack as a library.

    It resolves models to providers and knows the providers' addresses, keys and quirks. Where a provider's adapter is
    Llama Stack's plain OpenAI one, the answer is read by `chat_stream`; any other is called through the adapter.
    """

    def __init__(self, library: Any, session: aiohttp.ClientSession) -> None:
        self._library = library
        self._session = session
        self._inference = library.impls[Api.inference]
        self._inference.store = None  # else every prompt and completion is logged to a database
        self._list_models = library.impls[Api.models].list_models
        self._endpoints: dict[str, Endpoint | None] = {}
        self._found: dict[str, Any] = {}  # models by the names that they were asked for
        self._found_until = 0.0

    @classmethod
    async def boot(cls, settings: WorkerSettings) -> Self:
        """Start Llama Stack with the APIs that `run.yaml` lists."""
        config = parse_and_maybe_upgrade_config(replace_env_vars(yaml.safe_load(settings.run_yaml.read_text())))
        library = Library(config)
        await library.initialize()
        library.create_registry_refresh_task()  # finds the models of a provider that was not up yet
        return cls(library, new_session(settings))

    async def models(self) -> list[dict[str, Any]]:
        """Return the models of all providers that answer."""
        return [described(_shown_id(model), dict(model.metadata), model) for model in (await self._list_models()).data]

    def chat(self, request: dict[str, Any]) -> AsyncIterator[list[Chunk]]:
        """Yield the chunks of a chat completion."""
        return self._chat(request)

    async def close(self) -> None:
        """Stop Llama Stack and close the connections."""
        # It calls the end of its refresh task, which this is, an error.
        logging.getLogger("llama_stack.core.stack").setLevel(logging.CRITICAL)
        await self._library.shutdown()
        await self._session.close()

    async def _chat(self, request: dict[str, Any]) -> AsyncIterator[list[Chunk]]:
        model = await self._find(request["model"])
        provider = self._inference.routing_table.impls_by_provider_id[model.provider_id]
        if model.provider_id not in self._endpoints:
            self._endpoints[model.provider_id] = _direct_endpoint(provider)
        endpoint = self._endpoints[model.provider_id]
        if endpoint:
            chunks = stream_chat(self._session, endpoint, {**request, "model": model.provider_resource_id})
        else:
            chunks = self._chat_by_adapter({**request, "model": model.identifier})
        async for arrived in chunks:
            yield arrived

    async def _find(self, name: str) -> Any:
        """Return the model of this name: as it is listed, `provider/model`, or `model` where just one has it."""
        now = asyncio.get_running_loop().time()
        if now >= self._found_until:
            self._found, self._found_until = {}, now + MODELS_TTL
        if name not in self._found:
            models = [model for model in (await self._list_models()).data if model.model_type == "llm"]
            by_identifier = [model for model in models if name in {_shown_id(model), model.identifier}]
            by_resource = [model for model in models if model.provider_resource_id == name]
            matching = by_identifier or by_resource
            if len(matching) != 1:
                message = f"The model '{name}' does not exist; /v1/models lists those that do."
                raise ModelError(message, code="model_not_found")
            self._found[name] = matching[0]
        return self._found[name]

    async def _chat_by_adapter(self, request: dict[str, Any]) -> AsyncIterator[list[Chunk]]:
        options = {"stream": True, "stream_options": {"include_usage": True}}
        try:
            answer = await self._inference.openai_chat_completion(
                OpenAIChatCompletionRequestWithExtraBody(**request, **options)
            )
            async for chunk in answer:
                yield [chunk.model_dump(exclude_none=True)]
        except APIStatusError as error:
            code = "rate_limit_exceeded" if error.status_code == 429 else "server_error"  # noqa: PLR2004
            raise ModelError(f"The model's provider answered with status {error.status_code}.", code=code) from error
        except APIConnectionError as error:
            raise ModelError("The connection to the model's provider failed.") from error
        except (APIError, ValueError) as error:
            raise ModelError("The model's provider failed.") from error


def _direct_endpoint(provider: Any) -> Endpoint | None:
    """Return where to reach a provider without its adapter, or None if the adapter does more than pass things on."""
    kind = provider.__provider_spec__.provider_type
    plain = getattr(type(provider), "openai_chat_completion", None) is OpenAIMixin.openai_chat_completion
    # vLLM's adapter overrides the call to add one default, which is known.
    if not (plain or kind == "remote::vllm") or provider.config.network or provider.download_images:
        return None
    client = provider.client
    headers = {**client.auth_headers, "content-type": "application/json"}
    default_tokens = getattr(provider.config, "max_tokens", None) if kind == "remote::vllm" else None
    return Endpoint(str(client.base_url), headers, {"max_tokens": default_tokens} if default_tokens else {})


def _shown_id(model: Any) -> str:
    # A provider with one model of its own name needs no doubling.
    return str(model.provider_id if model.provider_id == model.provider_resource_id else model.identifier)
