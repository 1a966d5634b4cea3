"""MCP servers that answer what they should not: each answer is a clean error, bounded in time and size."""

import gzip
import tracemalloc
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
import pytest
from support.hostile_mcp import EVENTS, INVALID, LATE, LISTED, RUBBISH, SECRETS, add, new_tools, server, why_not_listed
from support.scripted_mcp import TOOL, Answer, ScriptedMcp, Send, endless, result, said

from turnstream_worker.tools.mcp_server import LIST_LIMIT, TOOLS_LIMIT
from turnstream_worker.tools.tool import ToolResult
from turnstream_worker.tools.tools import Tools


@pytest.fixture
async def patient() -> AsyncIterator[Tools]:
    """Tools that wait long enough for any answer that ends at a limit."""
    made = new_tools(30)
    yield made
    await made.close()


@pytest.mark.parametrize("name", RUBBISH)
@pytest.mark.parametrize("method", ["initialize", "tools/list"])
async def test_rubbish_where_tools_are_listed(
    tools: Tools,
    shop: tuple[ScriptedMcp, str],
    logged: Callable[[], bytes],
    method: str,
    name: str,
) -> None:
    """Whatever a server should not answer is a clean error, with nothing secret in it or in the log."""
    scripted, url = shop
    scripted.answers[method], message = RUBBISH[name]
    assert await why_not_listed(tools, f"{url}?key=secret-query") == message
    log = logged()
    assert b'"tools.not_listed"' in log
    assert b"secret" not in log
    del scripted.answers[method]
    assert await tools.list_tools(server(url), SECRETS, "tenant") == LISTED


@pytest.mark.parametrize("name", RUBBISH)
async def test_rubbish_as_a_result(
    tools: Tools,
    shop: tuple[ScriptedMcp, str],
    logged: Callable[[], bytes],
    name: str,
) -> None:
    """Whatever a server answers to a call is a result that has failed, and the next call passes."""
    scripted, url = shop
    scripted.answers["tools/call"], message = RUBBISH[name]
    assert await add(tools, url).call({}, "key") == ToolResult(message, failed=True)
    assert b"secret" not in logged()
    del scripted.answers["tools/call"]
    assert await add(tools, url).call({}, "key") == ToolResult("3")


@pytest.mark.parametrize("method", ["initialize", "tools/list", "tools/call"])
@pytest.mark.parametrize(
    "answer",
    [
        said(b'{"jsonrpc": "2.0", "id": 1, "result": "' + b"x" * 10_000_000 + b'"}'),
        said(b"data: " + b"x" * 10_000_000, EVENTS),
        endless(b" " * 65536, "application/json"),
        endless(b"x" * 65536, EVENTS),
        endless(b": x\n" * 10_000, EVENTS),
        endless(b'data: {"jsonrpc": "2.0", "method": "notifications/progress", "params": {}}\n\n' * 100, EVENTS),
    ],
    ids=["JSON", "event", "endless JSON", "endless line", "endless comments", "endless events"],
)
async def test_answers_without_bounds(
    patient: Tools, shop: tuple[ScriptedMcp, str], method: str, answer: Answer
) -> None:
    """An answer that is huge, or has no end, is given up at a limit that the error names."""
    scripted, url = shop
    scripted.answers[method] = answer
    tracemalloc.start()
    try:
        said_of_it = (await add(patient, url).call({}, "key")).output if method == "tools/call" else ""
        said_of_it = said_of_it or await why_not_listed(patient, url)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert said_of_it.startswith("The MCP server's answer is larger than ")
    assert most < 24 << 20  # the server, which sends it, is in this process too


async def test_compressed_answer(tools: Tools, shop: tuple[ScriptedMcp, str]) -> None:
    """An answer that is compressed although nobody asked for that is not unpacked."""
    scripted, url = shop
    bomb = gzip.compress(b" " * 10_000_000)
    scripted.answers["tools/call"] = said(bomb, **{"content-encoding": "gzip"})
    assert await add(tools, url).call({}, "key") == ToolResult(INVALID, failed=True)
    assert scripted.headers[-1]["accept-encoding"] == "identity"


async def test_protocol_error(tools: Tools, shop: tuple[ScriptedMcp, str]) -> None:
    """A server's own error is told in its words, as long as they are few."""
    scripted, url = shop

    async def refuse(send: Send, number: Any) -> None:
        error = {"code": -32602, "message": "Unknown tool" + "!" * 5000}
        await said(orjson.dumps({"jsonrpc": "2.0", "id": number, "error": error}))(send, number)

    scripted.answers["tools/call"] = refuse
    refused = await add(tools, url).call({}, "key")
    assert refused.failed
    assert refused.output.startswith("The MCP server refused: Unknown tool!")
    assert len(refused.output) < 1100


async def test_many_tools(tools: Tools, shop: tuple[ScriptedMcp, str]) -> None:
    """A server's pages of tools are read as long as they are not too many, or too large."""
    scripted, url = shop
    scripted.answers["tools/list"] = result({"tools": [TOOL], "nextCursor": "next"})
    assert await why_not_listed(tools, url) in {LATE, f"The MCP server has more than {TOOLS_LIMIT} tools."}
    large = {**TOOL, "description": "x" * (LIST_LIMIT // 2)}
    scripted.answers["tools/list"] = result({"tools": [large], "nextCursor": "next"})
    assert await why_not_listed(tools, url) == f"The MCP server's answer is larger than {LIST_LIMIT} bytes."
    deep: dict[str, Any] = {}
    for _ in range(300):
        deep = {"a": deep}
    text = b'{"a":' * 300 + b"1" + b"}" * 300
    scripted.answers["tools/list"] = said(
        b'{"jsonrpc":"2.0","id":%d,"result":{"tools":[{"name":"a","inputSchema":%s}]}}'
        % (scripted.asked[-1]["id"] + 1, text)
    )
    assert await why_not_listed(tools, url) == INVALID
