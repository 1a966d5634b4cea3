"""An MCP server of raw answers, well-behaved until it is told otherwise."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

type Send = Callable[[dict[str, Any]], Awaitable[None]]
type Answer = Callable[[Send, Any], Awaitable[None]]
"""Answers a request by its JSON-RPC id."""

ENDLESS = 64 << 20  # bytes
TOOL = {"name": "add", "description": "Add.", "inputSchema": {"type": "object"}}
RESULTS: dict[str, Any] = {
    "initialize": {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "s", "version": "1"}},
    "tools/list": {"tools": [TOOL]},
    "tools/call": {"content": [{"type": "text", "text": "3"}]},
}


@dataclass
class ScriptedMcp:
    """Answers each method of JSON-RPC, and GET and DELETE, as `answers` says, or else as it should."""

    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[dict[str, Any]] = field(default_factory=list)  # the messages that were posted
    headers: list[dict[str, str]] = field(default_factory=list)  # of all requests

    async def __call__(self, scope: Any, receive: Any, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return
        self.headers.append({name.decode(): value.decode() for name, value in scope["headers"]})
        if scope["method"] != "POST":
            await self.answers.get(scope["method"], status(405))(send, None)
            return
        body, more = b"", True
        while more:
            part = await receive()
            body, more = body + part.get("body", b""), part.get("more_body", False)
        message = orjson.loads(body)
        self.asked.append(message)
        await self.answers.get(message.get("method"), self._behave(message))(send, message.get("id"))

    def reset(self) -> None:
        """Behave again, and forget what was asked."""
        self.answers, self.asked, self.headers = {}, [], []

    def methods(self) -> list[str]:
        """Return the methods that were asked for."""
        return [message["method"] for message in self.asked if "method" in message]

    @staticmethod
    def _behave(message: dict[str, Any]) -> Answer:
        if "id" not in message or "method" not in message:
            return status(202)
        return result(RESULTS[message["method"]])


def result(value: Any) -> Answer:
    """Answer with a result."""

    async def answer(send: Send, number: Any) -> None:
        await said(orjson.dumps({"jsonrpc": "2.0", "id": number, "result": value}))(send, number)

    return answer


def said(body: bytes, media_type: str = "application/json", **headers: str) -> Answer:
    """Answer with just these bytes."""

    async def answer(send: Send, _: Any) -> None:
        await begin(send, {"content-type": media_type, **headers})
        await send({"type": "http.response.body", "body": body})

    return answer


def status(code: int, **headers: str) -> Answer:
    """Answer with a status alone."""

    async def answer(send: Send, _: Any) -> None:
        await begin(send, headers, code)
        await send({"type": "http.response.body"})

    return answer


def endless(piece: bytes, media_type: str) -> Answer:
    """Answer with one piece again and again, as good as for ever."""

    async def answer(send: Send, _: Any) -> None:
        await begin(send, {"content-type": media_type})
        for _ in range(ENDLESS // len(piece)):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            await asyncio.sleep(0)  # after a disconnect nothing waits in `send`

    return answer


def silent(media_type: str | None = None, first: bytes = b"") -> Answer:
    """Answer with nothing, or begin to."""

    async def answer(send: Send, _: Any) -> None:
        if media_type:
            await begin(send, {"content-type": media_type})
            await send({"type": "http.response.body", "body": first, "more_body": True})
        await asyncio.Event().wait()

    return answer


async def begin(send: Send, headers: dict[str, str], code: int = 200) -> None:
    """Send the head of an answer."""
    given = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": code, "headers": given})
