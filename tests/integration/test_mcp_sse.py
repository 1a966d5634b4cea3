"""MCP servers of the older transport that do not behave: all answers come by one stream, which may fail them all."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
import pytest
from support.asgi import serve_app
from support.scripted_mcp import RESULTS, ScriptedMcp, Send, begin, status

from turnstream_worker.settings import WorkerSettings
from turnstream_worker.tools.tool import Tool, ToolResult
from turnstream_worker.tools.tools import Tools

EVENTS = "text/event-stream"
LISTED = [{"name": "add", "description": "Add.", "input_schema": {"type": "object"}, "annotations": None}]
BROKEN = "The connection to the MCP server broke before it answered."
LATE = "The MCP server did not answer within 1 seconds."
INVALID = "The MCP server's answer is not valid MCP."

type Say = Callable[[Any], bytes | None]
"""Returns what is sent in answer to a call by its id; None ends the stream."""


class OlderMcp(ScriptedMcp):
    """Answers by a stream of events, whose `say` may be anything."""

    def __init__(self) -> None:
        super().__init__()
        self.say: Say = well
        self.streams = 0
        self.fickle = False  # end each stream behind a call's answer
        self._posted = asyncio.Condition()

    async def __call__(self, scope: Any, receive: Any, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http" and scope["path"] == "/sse":
            await (self._stream(send) if scope["method"] == "GET" else status(405)(send, None))
            return
        await super().__call__(scope, receive, send)
        async with self._posted:
            self._posted.notify_all()

    async def _stream(self, send: Send) -> None:
        self.streams += 1
        await begin(send, {"content-type": EVENTS, "set-cookie": "a=b; Path=/"})
        piece: bytes | None = b"event: endpoint\ndata: /messages\n\n"
        seen, method = len(self.asked), None
        while piece is not None:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            if self.fickle and method == "tools/call":
                break
            async with self._posted:
                await self._posted.wait_for(lambda: len(self.asked) > seen)  # noqa: B023 - it waits here
            message, seen = self.asked[seen], seen + 1
            method = message.get("method")
            piece = b"" if "id" not in message else self._answer(message)
        await send({"type": "http.response.body"})

    def _answer(self, message: dict[str, Any]) -> bytes | None:
        if message["method"] == "tools/call":
            return self.say(message["id"])
        return event({"jsonrpc": "2.0", "id": message["id"], "result": RESULTS[message["method"]]})


def event(message: Any) -> bytes:
    """Return a message as an event."""
    return b"data: " + orjson.dumps(message) + b"\n\n"


def well(number: Any) -> bytes:
    """Say what a call should answer."""
    return event({"jsonrpc": "2.0", "id": number, "result": RESULTS["tools/call"]})


RUBBISH: dict[str, tuple[Say, str]] = {
    "ends": (lambda _: None, BROKEN),
    "is no JSON": (lambda _: b"data: nonsense\n\n", LATE),
    "has another id": (lambda number: event({"jsonrpc": "2.0", "id": number + 100, "result": {}}), LATE),
    "is an odd result": (lambda number: event({"jsonrpc": "2.0", "id": number, "result": {"content": 1}}), INVALID),
    "is too large": (lambda _: b"data: " + b"x" * 100_000, "The MCP server's answer is larger than 69536 bytes."),
}


@pytest.fixture
async def served() -> AsyncIterator[tuple[OlderMcp, str]]:
    """A server that behaves so far, and its URL."""
    async with serve_app(scripted := OlderMcp()) as url:
        yield scripted, f"{url}/sse"


@pytest.fixture
async def tools(served: tuple[OlderMcp, str]) -> AsyncIterator[Tools]:
    """Tools of little patience, which disconnect before the server ends."""
    assert served
    settings = {
        "nats_url": "nats://nobody",
        "postgres_dsn": "postgresql://nobody",
        "fetch_allow": ["127.0.0.1"],
        "tool_timeout": 1,
        "tool_output": 1000,
    }
    made = Tools(WorkerSettings.model_validate(settings))
    yield made
    await made.close()


@pytest.fixture
def older(served: tuple[OlderMcp, str], tools: Tools) -> tuple[OlderMcp, Tool]:
    """The server and its tool."""
    scripted, url = served
    server = {"type": "mcp", "server_label": "shop", "server_url": url, "require_approval": "never"}
    return scripted, tools.toolbox([server], {"shop": LISTED}, set(), {}, "tenant")["add"]


@pytest.mark.parametrize("name", RUBBISH)
async def test_rubbish_on_the_stream(older: tuple[OlderMcp, Tool], name: str) -> None:
    """Whatever comes by the stream is a result that has failed, and the next call passes."""
    scripted, add = older
    scripted.say, message = RUBBISH[name]
    assert await add.call({}, "key") == ToolResult(message, failed=True)
    scripted.say = well
    assert await add.call({}, "key") == ToolResult("3")


async def test_question_that_is_refused(older: tuple[OlderMcp, Tool]) -> None:
    """A call that the server does not take fails at once, and alone."""
    scripted, add = older
    scripted.answers["tools/call"] = status(500)
    scripted.say = lambda _: b""
    refused = await add.call({}, "key")
    assert refused == ToolResult("The MCP server answered with HTTP status 500.", failed=True)
    del scripted.answers["tools/call"]
    scripted.say = well
    assert await add.call({}, "key") == ToolResult("3")
    assert scripted.streams == 1


async def test_cookies_are_not_kept(older: tuple[OlderMcp, Tool]) -> None:
    """A cookie that comes with the stream is not sent back."""
    scripted, add = older
    assert await add.call({}, "key") == ToolResult("3")
    assert all("cookie" not in headers for headers in scripted.headers)


async def test_stream_that_ended_unused(older: tuple[OlderMcp, Tool], tools: Tools) -> None:
    """A stream that its server ends between two calls is opened anew, and nobody notices."""
    scripted, add = older
    scripted.fickle = True
    assert await add.call({}, "key") == ToolResult("3")
    [entry] = tools._servers._entries.values()
    assert entry.server._connection
    streams = entry.server._connection._session._write_stream
    async with asyncio.timeout(10):
        while streams.statistics().open_send_streams:  # noqa: ASYNC110 - the library tells nobody that it has noticed
            await asyncio.sleep(0.005)
    assert await add.call({}, "key") == ToolResult("3")
    assert scripted.streams == 2
