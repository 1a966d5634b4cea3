"""A stack in memory for tests of what is made of a model's answers: it yields the chunks that it was given."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any

from turnstream.errors import ModelError
from turnstream_worker.chat_stream import Chunk
from turnstream_worker.stack import Operation, Stack

# What a model answers: chunks, each arriving alone, or the error that it breaks off with.
type Script = Sequence[Chunk | ModelError]


class ScriptedStack(Stack):
    """Answers each request by the next script, and keeps the requests."""

    def __init__(self, *scripts: Script) -> None:
        self.requests: list[dict[str, Any]] = []
        self._scripts = list(scripts)

    async def models(self) -> list[dict[str, Any]]:
        """Return no models: nothing here looks for one."""
        return []

    async def chat(self, request: dict[str, Any]) -> AsyncIterator[list[Chunk]]:
        """Yield the next script's chunks, up to its error if it has one."""
        self.requests.append(request)
        for step in self._scripts.pop(0):
            if isinstance(step, ModelError):
                raise step
            yield [step]

    async def providers(self) -> list[dict[str, Any]]:
        """Return no providers: nothing here looks for one."""
        return []

    def answer(self, operation: Operation, request: dict[str, Any]) -> AsyncGenerator[bytes]:
        """Pass nothing through."""
        raise NotImplementedError

    async def close(self) -> None:
        """Keep nothing."""


def delta(finish: str | None = None, **fields: Any) -> Chunk:
    """Make a chunk of these fields of a delta."""
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": finish}]}


def said(text: str) -> Chunk:
    """Make a chunk of text."""
    return delta(content=text)


def thought(text: str) -> Chunk:
    """Make a chunk of reasoning."""
    return delta(reasoning_content=text)


def called(*pieces: dict[str, Any]) -> Chunk:
    """Make a chunk of pieces of tools' calls."""
    return delta(tool_calls=list(pieces))


def piece(
    index: int | None, arguments: str = "", *, call: str | None = None, name: str | None = None
) -> dict[str, Any]:
    """Make a piece of a function's call; some providers leave its index out."""
    fields = {"index": index, "id": call, "function": {"name": name, "arguments": arguments}}
    return {name: value for name, value in fields.items() if value is not None}


def finished(reason: str = "stop") -> Chunk:
    """Make the chunk that gives the reason to finish."""
    return delta(reason)


def used(read: int, written: int = 1) -> Chunk:
    """Make the chunk that counts the tokens that were read and written."""
    return {"choices": [], "usage": {"prompt_tokens": read, "completion_tokens": written}}
