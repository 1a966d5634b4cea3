"""Llama Stack as a library in this process. The one file that imports it; it takes seconds, so it is imported late."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, Self

import aiohttp
import orjson
import yaml
from llama_stack.core.configure import parse_and_maybe_upgrade_config
from llama_stack.core.stack import Stack as Library
from llama_stack.core.stack import replace_env_vars
from llama_stack.providers.utils.inference.openai_mixin import OpenAIMixin
from llama_stack_api import (
    Api,
    OpenAIChatCompletionRequestWithExtraBody,
    OpenAICompletionRequestWithExtraBody,
    OpenAIEmbeddingsRequestWithExtraBody,
)
from llama_stack_api.common.errors import LlamaStackError
from openai import APIConnectionError, APIError, APIStatusError, APITimeoutError
from pydantic import ValidationError

from turnstream.errors import ModelError
from turnstream_worker.chat_stream import Chunk, stream_chat
from turnstream_worker.endpoint import Endpoint
from turnstream_worker.provider_errors import failed, refused
from turnstream_worker.raw_answer import DONE, raw_answer
from turnstream_worker.settings import WorkerSettings
from turnstream_worker.stack import Operation, described, described_provider, new_session

MODELS_TTL = 10  # seconds that a model's name is not looked up again: the look-up is a third of a millisecond
# How an adapter is asked: the name of its method, and what that takes.
METHODS: dict[Operation, tuple[str, Any]] = {
    Operation.CHAT: ("openai_chat_completion", OpenAIChatCompletionRequestWithExtraBody),
    Operation.COMPLETIONS: ("openai_completion", OpenAICompletionRequestWithExtraBody),
    Operation.EMBEDDINGS: ("openai_embeddings", OpenAIEmbeddingsRequestWithExtraBody),
}


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
        self._endpoints: dict[tuple[str, Operation], Endpoint | None] = {}
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

    async def providers(self) -> list[dict[str, Any]]:
        """Return the providers that are switched on."""
        listed = (await self._library.impls[Api.providers].list_providers()).data
        return [described_provider(provider.model_dump(mode="json")) for provider in listed]

    async def chat(self, request: dict[str, Any]) -> AsyncIterator[list[Chunk]]:
        """Yield the chunks of a chat completion."""
        model = await self._find(request["model"])
        endpoint = self._endpoint(model.provider_id, Operation.CHAT)
        if endpoint:
            chunks = stream_chat(self._session, endpoint, {**request, "model": model.provider_resource_id})
        else:
            chunks = self._chat_by_adapter({**request, "model": model.identifier})
        async for arrived in chunks:
            yield arrived

    async def answer(self, operation: Operation, request: dict[str, Any]) -> AsyncGenerator[bytes]:
        """Yield what a model's provider answers."""
        model = await self._find(request["model"], operation)
        endpoint = self._endpoint(model.provider_id, operation)
        if endpoint:
            answer = raw_answer(self._session, endpoint, operation, {**request, "model": model.provider_resource_id})
        else:
            answer = self._answer_by_adapter(operation, {**request, "model": model.identifier})
        async with aclosing(answer):
            async for piece in answer:
                yield piece

    async def close(self) -> None:
        """Stop Llama Stack and close the connections."""
        # It calls the end of its refresh task, which this is, an error.
        logging.getLogger("llama_stack.core.stack").setLevel(logging.CRITICAL)
        await self._library.shutdown()
        await self._session.close()

    def _endpoint(self, provider_id: str, operation: Operation) -> Endpoint | None:
        """Return where to reach a provider directly, or None where its adapter has to be asked."""
        known = self._endpoints
        if (provider_id, operation) not in known:
            provider = self._inference.routing_table.impls_by_provider_id[provider_id]
            known[provider_id, operation] = _direct_endpoint(provider, operation)
        return known[provider_id, operation]

    async def _find(self, name: str, operation: Operation = Operation.CHAT) -> Any:
        """Return the model of this name: as it is listed, `provider/model`, or `model` where just one has it."""
        now = asyncio.get_running_loop().time()
        if now >= self._found_until:
            self._found, self._found_until = {}, now + MODELS_TTL
        if name not in self._found:
            models = (await self._list_models()).data
            by_identifier = [model for model in models if name in {_shown_id(model), model.identifier}]
            by_resource = [model for model in models if model.provider_resource_id == name]
            matching = by_identifier or by_resource
            if len(matching) != 1:
                message = f"The model '{name}' does not exist; /v1/models lists those that do."
                raise ModelError(message, code="model_not_found", param="model", status=404)
            self._found[name] = matching[0]
        found = self._found[name]
        # Providers do not say what their models are for, and what Llama Stack does not know it takes for an llm.
        if found.model_type not in {"llm", "embedding" if operation is Operation.EMBEDDINGS else "llm"}:
            message = f"The model '{name}' is for another use: its type is '{found.model_type}'."
            raise ModelError(message, code="invalid_value", param="model", status=400)
        return found

    async def _chat_by_adapter(self, request: dict[str, Any]) -> AsyncIterator[list[Chunk]]:
        options = {"stream": True, "stream_options": {"include_usage": True}}
        async for chunk in self._by_adapter(Operation.CHAT, {**request, **options}):
            yield [chunk.model_dump(exclude_none=True)]

    async def _answer_by_adapter(self, operation: Operation, request: dict[str, Any]) -> AsyncGenerator[bytes]:
        async with aclosing(self._by_adapter(operation, request)) as answers:
            async for answer in answers:
                said = answer.model_dump_json().encode()
                yield b"data: %b\n\n" % said if request.get("stream") else said
        if request.get("stream"):
            yield DONE

    async def _by_adapter(self, operation: Operation, request: dict[str, Any]) -> AsyncGenerator[Any]:
        """Yield what a provider's adapter returns: one object, or a stream of them."""
        method, request_class = METHODS[operation]
        begun = False
        try:
            answer = await getattr(self._inference, method)(request_class(**request))
            if not request.get("stream"):
                yield answer
                return
            async for chunk in answer:
                begun = True
                yield chunk
        except (APIError, LlamaStackError, NotImplementedError, ValueError) as error:
            mapped = _mapped(error)
            if begun:
                mapped.retry_after = None
            raise mapped from error


def _mapped(error: Exception) -> ModelError:
    """Return an adapter's error as ours."""
    match error:
        case APIStatusError():
            body = orjson.dumps({"error": error.body}, default=str)
            return refused(error.status_code, error.response.headers, body)
        case APITimeoutError():
            return ModelError("The model did not answer in time.", status=504)
        case APIConnectionError():
            return ModelError("The connection to the model's provider failed.", retry_after=0.0)
        case APIError():
            return failed(error.body if isinstance(error.body, dict) else {"message": error.message})
        case ValidationError():
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            param = ".".join(str(step) for step in first["loc"])
            message = f"Invalid value for '{param}': {first['msg']}."
            return ModelError(message, code="invalid_prompt", param=param, status=400)
    return ModelError("The model's provider does not take this request.", code="invalid_prompt", status=400)


def _direct_endpoint(provider: Any, operation: Operation) -> Endpoint | None:
    """Return where to reach a provider without its adapter, or None if the adapter does more than pass things on."""
    kind = provider.__provider_spec__.provider_type
    method, _ = METHODS[operation]
    plain = getattr(type(provider), method, None) is getattr(OpenAIMixin, method)
    # vLLM's adapter overrides the call to add one default, which is known.
    chat_with_default = kind == "remote::vllm" and operation is Operation.CHAT
    fetches_images = provider.download_images and operation is Operation.CHAT
    if not (plain or chat_with_default) or provider.config.network or fetches_images:
        return None
    client = provider.client
    headers = {**client.auth_headers, "content-type": "application/json"}
    default_tokens = getattr(provider.config, "max_tokens", None) if chat_with_default else None
    return Endpoint(str(client.base_url), headers, {"max_tokens": default_tokens} if default_tokens else {})


def _shown_id(model: Any) -> str:
    # A provider with one model of its own name needs no doubling.
    return str(model.provider_id if model.provider_id == model.provider_resource_id else model.identifier)
