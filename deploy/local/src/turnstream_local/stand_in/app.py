"""The stand-in's HTTP interface: plain ASGI, since a framework would cost more per token than the answer itself."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from typing import Any
from urllib.parse import parse_qs

from pydantic import ValidationError

from turnstream_local.stand_in.answers import Defaults, answer
from turnstream_local.stand_in.chat_request import ChatRequest, bad_body, parse_chat_request
from turnstream_local.stand_in.chunks import CHAT, TEXT, Form
from turnstream_local.stand_in.embeddings import embeddings, parse_embeddings_request
from turnstream_local.stand_in.errors import ApiError, UnknownModelError
from turnstream_local.stand_in.pacer import Pacer
from turnstream_local.stand_in.script import Script, ScriptBook
from turnstream_local.stand_in.speech import Receive, Send, Speech, send_json
from turnstream_local.stand_in.text_request import parse_text_request

CHAT_MODELS = ("stand-in", "stand-in-guard")
EMBEDDING_MODEL = "stand-in-embedding"
MODELS = (*CHAT_MODELS, EMBEDDING_MODEL)
MAX_BODY_BYTES = 32 * 1024 * 1024

type Scope = MutableMapping[str, Any]
type Handler = Callable[[Scope, Receive, Send], Awaitable[None]]


class StandIn:
    """The ASGI application."""

    def __init__(self, defaults: Defaults | None = None) -> None:
        self._defaults = defaults or Defaults()
        self._book = ScriptBook()
        self._pacer: Pacer | None = None
        self._routes: dict[tuple[str, str], Handler] = {
            ("POST", "/v1/chat/completions"): self._chat,
            ("POST", "/v1/completions"): self._complete,
            ("POST", "/v1/embeddings"): self._embed,
            ("GET", "/v1/models"): self._models,
            ("GET", "/health"): self._health,
            ("POST", "/script"): self._add_script,
            ("DELETE", "/script"): self._clear_scripts,
            ("GET", "/requests"): self._requests,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        try:
            await self._route(scope)(scope, receive, send)
        except ApiError as error:
            await send_json(send, error.body(), error.status, error.headers())

    def _route(self, scope: Scope) -> Handler:
        method, path = scope["method"], scope["path"]
        if handler := self._routes.get((method, path)):
            return handler
        if any(path == known for _, known in self._routes):
            raise ApiError(f"{path} does not take {method}.", status=405)
        raise ApiError(f"There is nothing at {path}.", status=404)

    async def _chat(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _read_json(receive)
        request = parse_chat_request(body)
        self._book.record(request.last_user_text, body)
        await self._speak(scope, receive, send, request, CHAT)

    async def _complete(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _read_json(receive)
        request = parse_text_request(body).as_chat()
        self._book.record(request.last_user_text, body)
        await self._speak(scope, receive, send, request, TEXT)

    async def _speak(self, scope: Scope, receive: Receive, send: Send, request: ChatRequest, form: Form) -> None:
        if request.model not in CHAT_MODELS:
            raise UnknownModelError(request.model)
        made = answer(request, self._book.next_reply(request.last_user_text), self._defaults)
        self._pacer = self._pacer or Pacer()
        cut = scope.get("extensions", {}).get("stand_in.cut", {}).get("abort")
        if await _until_gone(receive, Speech(request, made, self._pacer, send, cut, form=form).run()):
            self._book.record_left(request.last_user_text)

    async def _embed(self, _scope: Scope, receive: Receive, send: Send) -> None:
        body = await _read_json(receive)
        request = parse_embeddings_request(body)
        text = "\n".join(request.texts)
        self._book.record(text, body)
        if request.model != EMBEDDING_MODEL:
            raise UnknownModelError(request.model)
        reply = self._book.next_reply(text)
        if reply and reply.error:
            raise reply.error.to_api_error()
        await send_json(send, embeddings(request))

    async def _models(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        models = [{"id": model, "object": "model", "created": 0, "owned_by": "turnstream"} for model in MODELS]
        await send_json(send, {"object": "list", "data": models})

    async def _health(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await send_json(send, {"status": "ok"})

    async def _add_script(self, _scope: Scope, receive: Receive, send: Send) -> None:
        body = await _read_json(receive)
        try:
            script = Script.model_validate(body)
        except ValidationError as error:
            raise bad_body(error) from error
        self._book.add(script)
        await send_json(send, {"match": script.match, "replies": len(script.replies)}, 201)

    async def _clear_scripts(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        self._book.clear()
        await send_json(send, {})

    async def _requests(self, scope: Scope, _receive: Receive, send: Send) -> None:
        query = parse_qs(scope["query_string"].decode(), keep_blank_values=True)
        match = query.get("match", [""])[-1]
        await send_json(send, {"data": self._book.requests(match), "left": self._book.left(match)})


async def _read_json(receive: Receive) -> dict[str, Any]:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > MAX_BODY_BYTES:
            raise ApiError(f"The body is larger than {MAX_BODY_BYTES} bytes.", status=413)
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ApiError("We could not parse the JSON body of your request.") from error
    if not isinstance(parsed, dict):
        raise ApiError("The body of your request must be a JSON object.")
    return parsed


async def _until_gone(receive: Receive, work: Coroutine[Any, Any, None]) -> bool:
    """Work until it is done or the client has left, which ends it at once; return whether it has."""
    working = asyncio.create_task(work)
    leaving = asyncio.ensure_future(receive())
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
    finally:
        leaving.cancel()
        left = working.cancel()
    if not left:
        working.result()
    return left
