"""An answer as the bytes that OpenAI's API sends: a stream of chunks, or one completion."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii as quoted
from typing import Any, Protocol
from uuid import uuid4

from turnstream_local.stand_in.answers import Answer, Call
from turnstream_local.stand_in.chat_request import ChatRequest
from turnstream_local.stand_in.errors import ApiError

DONE = b"data: [DONE]\n\n"


class ChunkStream:
    """The frames of one streamed answer: `tokens()` one by one, then `ending()`."""

    def __init__(self, request: ChatRequest, answer: Answer) -> None:
        self._request = request
        self._answer = answer
        envelope = _envelope(request, "chat.completion.chunk")
        # Every chunk begins and ends alike, so both are encoded once; a token costs only its own quoting.
        self._head = f'data: {json.dumps(envelope)[:-1]}, "choices": ['
        self._tail = '], "usage": null}\n\n' if request.include_usage else "]}\n\n"

    def tokens(self) -> Iterator[bytes]:
        """Give one frame for each token; the role's comes with the first, a tool call's name with its arguments'."""
        opening = self._frame({"role": "assistant", "content": None if self._answer.calls else "", "refusal": None})
        for frame in self._said():
            yield opening + frame
            opening = b""
        for index, call in enumerate(self._answer.calls):
            opening += self._call(index, call)
            for piece in call.pieces:
                yield opening + self._frame({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
                opening = b""
        if opening:
            yield opening

    def ending(self) -> bytes:
        """Give the frames behind the last token."""
        frames = self._frame({}, self._answer.finish_reason)
        if self._request.include_usage:
            usage = self._head + self._tail.replace("null", json.dumps(_usage(self._answer)))
            frames += usage.encode()
        return frames + DONE

    def _said(self) -> Iterator[bytes]:
        for thought in self._answer.thoughts:
            yield self._frame({"reasoning_content": thought})
        yield from self._content()
        for token in self._answer.refusal:
            yield self._frame({"refusal": token})

    def _content(self) -> Iterator[bytes]:
        before = self._head + '{"index": 0, "delta": {"content": '
        after = '}, "logprobs": null, "finish_reason": null}' + self._tail
        for position, token in enumerate(self._answer.tokens):
            if self._request.logprobs:
                logprobs = json.dumps({"content": [_logprob(self._request, self._answer, position)], "refusal": None})
                after = f'}}, "logprobs": {logprobs}, "finish_reason": null}}{self._tail}'
            yield f"{before}{quoted(token)}{after}".encode()

    def _call(self, index: int, call: Call) -> bytes:
        function = {"name": call.name, "arguments": ""}
        return self._frame({"tool_calls": [{"index": index, "id": call.id, "type": "function", "function": function}]})

    def _frame(self, delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return f"{self._head}{json.dumps(choice)}{self._tail}".encode()


def completion(request: ChatRequest, answer: Answer) -> dict[str, Any]:
    """Build the body of an answer that is not streamed."""
    text, refusal = "".join(answer.tokens), "".join(answer.refusal)
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": refusal or None}
    if answer.thoughts:
        message["reasoning_content"] = "".join(answer.thoughts)
    if answer.calls or refusal:
        message["content"] = text or None
    if answer.calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": "".join(call.pieces)}}
            for call in answer.calls
        ]
    logprobs = None
    if request.logprobs:
        content = [_logprob(request, answer, position) for position in range(len(answer.tokens))]
        logprobs = {"content": content, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": logprobs, "finish_reason": answer.finish_reason}
    return {**_envelope(request, "chat.completion"), "choices": [choice], "usage": _usage(answer)}


class TextStream:
    """The frames of one streamed completion of a text, as ChunkStream has those of a chat."""

    def __init__(self, request: ChatRequest, answer: Answer) -> None:
        self._request = request
        self._answer = answer
        self._envelope = _text_envelope(request)

    def tokens(self) -> Iterator[bytes]:
        """Give one frame for each token."""
        for token in self._answer.tokens:
            yield self._frame([_text_choice(token, None)])

    def ending(self) -> bytes:
        """Give the frames behind the last token."""
        frames = self._frame([_text_choice("", self._answer.finish_reason)])
        if self._request.include_usage:
            frames += self._frame([], usage=_usage(self._answer))
        return frames + DONE

    def _frame(self, choices: list[dict[str, Any]], **more: Any) -> bytes:
        return f"data: {json.dumps({**self._envelope, 'choices': choices, **more})}\n\n".encode()


def text_completion(request: ChatRequest, answer: Answer) -> dict[str, Any]:
    """Build the body of a completion of a text that is not streamed."""
    choice = _text_choice("".join(answer.tokens), answer.finish_reason)
    return {**_text_envelope(request), "choices": [choice], "usage": _usage(answer)}


class Frames(Protocol):
    """The frames of one streamed answer."""

    def tokens(self) -> Iterator[bytes]:
        """Give one frame for each token."""

    def ending(self) -> bytes:
        """Give the frames behind the last token."""


@dataclass(frozen=True, slots=True)
class Form:
    """How the answers of one endpoint look, streamed and whole."""

    frames: Callable[[ChatRequest, Answer], Frames]
    whole: Callable[[ChatRequest, Answer], dict[str, Any]]


CHAT = Form(ChunkStream, completion)
TEXT = Form(TextStream, text_completion)


def error_frame(error: ApiError) -> bytes:
    """Build the frame that ends a stream which failed."""
    return f"data: {json.dumps(error.body())}\n\n".encode()


def _envelope(request: ChatRequest, kind: str) -> dict[str, Any]:
    # Each answer has its own id: clients store completions by it.
    return {
        "id": f"chatcmpl-{uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": request.model,
        "system_fingerprint": "stand-in",
    }


def _text_envelope(request: ChatRequest) -> dict[str, Any]:
    return {**_envelope(request, "text_completion"), "id": f"cmpl-{uuid4().hex}"}


def _text_choice(text: str, finish_reason: str | None) -> dict[str, Any]:
    return {"index": 0, "text": text, "logprobs": None, "finish_reason": finish_reason}


def _usage(answer: Answer) -> dict[str, Any]:
    details = {"completion_tokens_details": {"reasoning_tokens": len(answer.thoughts)}} if answer.thoughts else {}
    return {
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "total_tokens": answer.prompt_tokens + answer.completion_tokens,
        **details,
    }


def _logprob(request: ChatRequest, answer: Answer, position: int) -> dict[str, Any]:
    """Describe one token; the alternatives are the token with a number, each less likely by one."""
    token = answer.tokens[position]
    chosen = answer.logprobs[min(position, len(answer.logprobs) - 1)]
    others = range(request.top_logprobs or 0)
    top = [_rated(token if rank == 0 else f"{token}{rank}", chosen - rank) for rank in others]
    return {**_rated(token, chosen), "top_logprobs": top}


def _rated(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode(errors="replace"))}
