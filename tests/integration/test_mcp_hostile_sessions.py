"""MCP servers that hang, break off or forget in the midst of a session: the calls on it are ended or gone on with."""

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from support.hostile_mcp import EVENTS, LATE, RUBBISH, add
from support.scripted_mcp import RESULTS, ScriptedMcp, Send, begin, result, said, status

from turnstream_worker.tools.tool import ToolResult
from turnstream_worker.tools.tools import Tools


@pytest.mark.parametrize("name", ["hangs", "hangs in JSON", "hangs in events"])
async def test_hanging_call_is_taken_back(tools: Tools, shop: tuple[ScriptedMcp, str], name: str) -> None:
    """A server that does not answer in time is told, by the request's own id, that the answer is not wanted."""
    scripted, url = shop
    scripted.answers["tools/call"], _ = RUBBISH[name]
    await add(tools, url).call({}, "key")
    await tools.close()
    call, last = scripted.asked[-2:]
    assert (call["method"], last["method"]) == ("tools/call", "notifications/cancelled")
    assert last["params"]["requestId"] == call["id"]


async def test_cancellation_that_hangs(tools: Tools, shop: tuple[ScriptedMcp, str]) -> None:
    """A call that is cancelled returns at once though its server takes no message any more."""
    scripted, url = shop
    asked, released = asyncio.Event(), asyncio.Event()

    async def hang(_: Send, __: Any) -> None:
        asked.set()
        await asyncio.Event().wait()

    async def hang_until_released(send: Send, number: Any) -> None:
        await released.wait()
        await status(202)(send, number)

    scripted.answers |= {"tools/call": hang, "notifications/cancelled": hang_until_released}
    call = asyncio.create_task(add(tools, url).call({}, "key"))
    await asked.wait()
    call.cancel()
    done, _ = await asyncio.wait([call], timeout=0.1)
    assert done == {call}
    released.set()


async def test_stream_that_is_gone_on_with(tools: Tools, shop: tuple[ScriptedMcp, str]) -> None:
    """A stream that its server ends on the way is gone on with behind its last event, as the server asks."""
    scripted, url = shop
    scripted.answers["tools/call"] = said(b"id: a-1\nretry: 1\ndata:\n\n", EVENTS)

    async def go_on(send: Send, _: Any) -> None:
        answer = {"jsonrpc": "2.0", "id": scripted.asked[-1]["id"], "result": RESULTS["tools/call"]}
        await said(b"data: " + orjson.dumps(answer) + b"\n\n", EVENTS)(send, None)

    scripted.answers["GET"] = go_on
    assert await add(tools, url).call({}, "key") == ToolResult("3")
    assert scripted.headers[-1]["last-event-id"] == "a-1"
    assert scripted.methods().count("tools/call") == 1


async def test_stream_that_always_ends(tools: Tools, shop: tuple[ScriptedMcp, str]) -> None:
    """A stream that its server ends each time is given up when the time is over, and not asked for without pause."""
    scripted, url = shop
    scripted.answers["tools/call"] = scripted.answers["GET"] = said(b"id: a-1\nretry: 0\ndata:\n\n", EVENTS)
    assert await add(tools, url).call({}, "key") == ToolResult(LATE, failed=True)
    assert len(scripted.headers) < 10


async def test_server_that_asks(tools: Tools, shop: tuple[ScriptedMcp, str], logged: Callable[[], bytes]) -> None:
    """A server that asks whether we live is told so, and one that wants more is told that we cannot do it."""
    scripted, url = shop

    async def ask(send: Send, number: Any) -> None:
        await begin(send, {"content-type": EVENTS})
        for message in (
            {"jsonrpc": "2.0", "id": "p", "method": "ping"},
            {"jsonrpc": "2.0", "id": "s", "method": "sampling/createMessage", "params": {}},
            {"jsonrpc": "2.0", "id": number, "result": RESULTS["tools/call"]},
        ):
            body = b"data: " + orjson.dumps(message) + b"\r\n\r\n"
            await send({"type": "http.response.body", "body": body, "more_body": True})

    scripted.answers["tools/call"] = ask
    assert await add(tools, url).call({}, "key") == ToolResult("3")
    await tools.close()
    replies = {message["id"]: message for message in scripted.asked if "method" not in message}
    assert replies["p"]["result"] == {}
    assert replies["s"]["error"]
    assert b"sampling" not in logged()


async def test_one_call_of_two(tools: Tools, shop: tuple[ScriptedMcp, str]) -> None:
    """A call that fails leaves the others on its session alone."""
    scripted, url = shop
    held, released = asyncio.Event(), asyncio.Event()

    async def hold(send: Send, number: Any) -> None:
        held.set()
        await released.wait()
        await result(RESULTS["tools/call"])(send, number)

    scripted.answers["tools/call"] = hold
    other = asyncio.create_task(add(tools, url).call({}, "other"))
    await held.wait()
    for name in ("fails", "is no JSON", "breaks off"):
        scripted.answers["tools/call"], message = RUBBISH[name]
        assert await add(tools, url).call({}, "key") == ToolResult(message, failed=True)
    released.set()
    assert await other == ToolResult("3")


async def test_forgotten_session(tools: Tools, shop: tuple[ScriptedMcp, str]) -> None:
    """A server that has forgotten the session is asked again in a new one, and once."""
    scripted, url = shop

    async def begin_session(send: Send, number: Any) -> None:
        answer = {"jsonrpc": "2.0", "id": number, "result": RESULTS["initialize"]}
        await said(orjson.dumps(answer), **{"mcp-session-id": "one"})(send, number)

    scripted.answers["initialize"] = begin_session

    async def forget(send: Send, number: Any) -> None:
        scripted.answers["initialize"] = result(RESULTS["initialize"])
        scripted.answers.pop("tools/call")
        await status(404)(send, number)

    scripted.answers["tools/call"] = forget
    assert await add(tools, url).call({}, "key") == ToolResult("3")
    assert scripted.methods().count("initialize") == 2
