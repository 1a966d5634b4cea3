"""Tools of MCP servers that behave: what is listed, what a call carries, what is shared, and what is taken back."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
import pytest
from mcp.server.fastmcp import FastMCP
from mcp.types import AudioContent, ImageContent, ResourceLink, TextContent
from pydantic import AnyUrl
from support.asgi import serve_app
from support.mcp_server import Calls, build_app, build_server

from turnstream_worker.settings import WorkerSettings
from turnstream_worker.tools.tool import Tool, ToolError, ToolResult
from turnstream_worker.tools.tools import Tools

SECRETS = {"tools": {"shop": {"headers": {"X-Shop": "secret-header"}, "authorization": "secret-token"}}}
NEVER = "never"

type NewTools = Callable[..., Tools]


@pytest.fixture
async def new_tools() -> AsyncIterator[NewTools]:
    """Make tools that may reach 127.0.0.1, and close them."""
    made: list[Tools] = []

    def new(**settings: Any) -> Tools:
        allowed: dict[str, Any] = {"fetch_allow": ["127.0.0.1"], **settings}
        made.append(Tools(WorkerSettings(nats_url="nats://nobody", postgres_dsn="postgresql://nobody", **allowed)))
        return made[-1]

    yield new
    for tools in made:
        await tools.close()


@pytest.fixture
def tools(new_tools: NewTools) -> Tools:
    """Tools with the settings that a worker has by default."""
    return new_tools()


@pytest.fixture
def calls() -> Calls:
    """What the server executed."""
    return Calls()


@pytest.fixture
async def url(calls: Calls) -> AsyncIterator[str]:
    """Where a server speaks streamable HTTP."""
    async with serve_app(build_app(calls)) as serving:
        yield f"{serving}/mcp"


@pytest.fixture(params=["streamable", "events"])
async def either_url(request: pytest.FixtureRequest, calls: Calls) -> AsyncIterator[str]:
    """Where a server speaks streamable HTTP, or else the transport that came before."""
    newer = request.param == "streamable"
    async with serve_app(build_app(calls) if newer else build_server(calls).sse_app()) as serving:
        yield f"{serving}/mcp" if newer else f"{serving}/sse"


def server(url: str, **fields: Any) -> dict[str, Any]:
    """Return a request's tool."""
    return {"type": "mcp", "server_label": "shop", "server_url": url, "require_approval": NEVER, **fields}


async def open_toolbox(
    tools: Tools, url: str, secrets: dict[str, Any] | None = None, tenant: str = "tenant"
) -> dict[str, Tool]:
    """Return the tools of a server."""
    asked = server(url)
    listed = await tools.list_tools(asked, secrets or {}, tenant)
    return tools.toolbox([asked], {"shop": listed}, set(), secrets or {}, tenant)


async def until(condition: Callable[[], object]) -> None:
    """Return when something has come true."""
    async with asyncio.timeout(10):
        while True:
            if condition():
                return
            await asyncio.sleep(0.005)


async def test_list(tools: Tools, either_url: str) -> None:
    """A server's tools are listed with their schemas and with what they say of themselves, by either transport."""
    listed = await tools.list_tools(server(either_url), {}, "tenant")
    assert [tool["name"] for tool in listed] == ["add", "charge", "slow", "fail", "big"]
    assert listed[0]["description"] == "Add two numbers."
    assert listed[0]["input_schema"]["required"] == ["a", "b"]
    assert listed[0]["annotations"]["readOnlyHint"] is True
    assert orjson.loads(orjson.dumps(listed)) == listed


async def test_call(tools: Tools, calls: Calls, either_url: str) -> None:
    """A call runs once, with its idempotency key in both places and the client's credentials."""
    toolbox = await open_toolbox(tools, either_url, SECRETS)
    assert await toolbox["add"].call({"a": 1, "b": 2}, "key-1") == ToolResult("3")
    [execution] = calls.executions
    assert (execution.arguments, execution.key) == ({"a": 1, "b": 2}, "key-1")
    assert execution.headers["authorization"] == "Bearer secret-token"
    assert execution.headers["x-shop"] == "secret-header"
    assert execution.header_key == "key-1"


async def test_failure(tools: Tools, url: str) -> None:
    """A tool that fails is a result that says so."""
    result = await (await open_toolbox(tools, url))["fail"].call({}, "key")
    assert result.failed
    assert "this tool always fails" in result.output


async def test_arguments_that_a_tool_does_not_take(tools: Tools, calls: Calls, url: str) -> None:
    """Arguments that the server refuses are a result that has failed."""
    assert (await (await open_toolbox(tools, url))["add"].call({"a": "x"}, "key")).failed
    assert calls.executions == []


async def test_limit_of_a_result(new_tools: NewTools, url: str) -> None:
    """A result may be as large as the limit, and not larger, whether or not it is read at all."""
    toolbox = await open_toolbox(new_tools(tool_output=1000), url)
    assert await toolbox["big"].call({"bytes": 1000}, "a") == ToolResult("x" * 1000)
    assert await toolbox["big"].call({"bytes": 1001}, "b") == ToolResult(
        "The tool's result is larger than 1000 bytes.", failed=True
    )
    large = await toolbox["big"].call({"bytes": 10_000_000}, "c")
    assert (large.output, large.failed) == ("The MCP server's answer is larger than 69536 bytes.", True)
    assert await toolbox["big"].call({"bytes": 3}, "d") == ToolResult("xxx")


async def test_late_call(new_tools: NewTools, calls: Calls, either_url: str) -> None:
    """A call that takes too long is given up, and its server told; the next one is not held up."""
    toolbox = await open_toolbox(new_tools(tool_timeout=0.3), either_url)
    late = await toolbox["slow"].call({"seconds": 60}, "key")
    assert late == ToolResult("The MCP server did not answer within 0.3 seconds.", failed=True)
    await until(lambda: calls.executions[0].cancelled)
    assert await toolbox["add"].call({"a": 1, "b": 2}, "key") == ToolResult("3")


async def test_cancelled_call(tools: Tools, calls: Calls, either_url: str) -> None:
    """A call that is cancelled returns at once, and its server is told; another on the same session goes on."""
    calls.delay = 0.2
    toolbox = await open_toolbox(tools, either_url)
    slow = asyncio.create_task(toolbox["slow"].call({"seconds": 60}, "slow"))
    await until(lambda: calls.executions)
    charge = asyncio.create_task(toolbox["charge"].call({"order": "a"}, "charge"))
    await until(lambda: len(calls.executions) == 2)
    slow.cancel()
    done, _ = await asyncio.wait([slow], timeout=0.1)
    assert done == {slow}
    assert slow.cancelled()
    await until(lambda: calls.executions[0].cancelled)
    assert await charge == ToolResult("charged a")
    assert not calls.executions[1].cancelled


async def sessions(tools: Tools, calls: Calls, url: str, secrets: dict[str, Any], tenant: str) -> str:
    """Call a tool and return the session that the call came by."""
    toolbox = await open_toolbox(tools, url, secrets, tenant)
    await toolbox["add"].call({"a": 1, "b": 2}, "key")
    return calls.executions[-1].headers["mcp-session-id"]


async def test_sessions_are_shared_within_a_tenants_credentials(tools: Tools, calls: Calls, url: str) -> None:
    """One tenant's calls with the same credentials share a session; others, and other tenants, have their own."""
    first = await sessions(tools, calls, url, SECRETS, "tenant")
    assert await sessions(tools, calls, url, SECRETS, "tenant") == first
    others = [
        await sessions(tools, calls, url, SECRETS, "another"),
        await sessions(tools, calls, url, {}, "tenant"),
        await sessions(tools, calls, url, {"tools": {"shop": {"authorization": "other"}}}, "tenant"),
        await sessions(tools, calls, url, {"tools": {"shop": {"headers": {"x-shop": "other"}}}}, "tenant"),
        await sessions(tools, calls, f"{url}?a=b", SECRETS, "tenant"),
    ]
    assert len({first, *others}) == 6


async def test_calls_at_once(tools: Tools, calls: Calls, url: str) -> None:
    """Calls on one session run at the same time, and each gets its own answer."""
    toolbox = await open_toolbox(tools, url)
    results = await asyncio.gather(*(toolbox["add"].call({"a": number, "b": 1}, "key") for number in range(40)))
    assert [result.output for result in results] == [str(number + 1) for number in range(40)]
    assert len({execution.headers["mcp-session-id"] for execution in calls.executions}) == 1


async def test_restarted_server(new_tools: NewTools, calls: Calls, unused_tcp_port: int) -> None:
    """A server that has forgotten the session gets a new one, and the call runs once."""
    tools = new_tools()
    async with serve_app(build_app(Calls()), unused_tcp_port) as serving:
        toolbox = await open_toolbox(tools, f"{serving}/mcp")
        assert await toolbox["charge"].call({"order": "a"}, "key") == ToolResult("charged a")
    gone = await toolbox["charge"].call({"order": "b"}, "key")
    assert gone.failed
    async with serve_app(build_app(calls), unused_tcp_port):
        assert await toolbox["charge"].call({"order": "c"}, "key") == ToolResult("charged c")
    assert [execution.arguments for execution in calls.executions] == [{"order": "c"}]


async def test_idle_connections_are_closed(new_tools: NewTools, calls: Calls, url: str) -> None:
    """A session that nobody uses is ended after a while."""
    tools = new_tools(mcp_idle=0.05)
    first = await sessions(tools, calls, url, {}, "tenant")
    await until(lambda: not tools._servers._entries)
    assert await sessions(tools, calls, url, {}, "tenant") != first


async def test_limit_of_connections(new_tools: NewTools, calls: Calls, url: str) -> None:
    """Who needs one server too many takes the place of one that is idle, or waits for one that is in use."""
    tools = new_tools(mcp_connections=1)
    first = await sessions(tools, calls, url, {}, "one")
    assert await sessions(tools, calls, url, {}, "two") != first
    calls.delay = 0.1
    ones, others = await open_toolbox(tools, url, {}, "one"), await open_toolbox(tools, url, {}, "two")
    together = await asyncio.gather(
        ones["charge"].call({"order": "a"}, "a"), others["charge"].call({"order": "b"}, "b")
    )
    assert list(together) == [ToolResult("charged a"), ToolResult("charged b")]


async def test_no_room_for_a_connection(new_tools: NewTools, calls: Calls, url: str) -> None:
    """Who waits too long for a server that is in use is told so."""
    tools = new_tools(mcp_connections=1, mcp_timeout=0.2)
    toolbox = await open_toolbox(tools, url)
    busy = asyncio.create_task(toolbox["slow"].call({"seconds": 60}, "key"))
    await until(lambda: calls.executions)
    with pytest.raises(ToolError, match="Too many MCP servers"):
        await tools.list_tools(server(url), {}, "another")
    busy.cancel()


async def test_content_that_is_no_text(tools: Tools) -> None:
    """What a model cannot read is told of in brackets, and structured content stands in for missing text."""
    shop: FastMCP[None] = FastMCP("shop")

    @shop.tool(structured_output=False)
    def picture() -> list[Any]:
        return [
            TextContent(type="text", text="see"),
            ImageContent(type="image", data="aGk=", mimeType="image/png"),
            AudioContent(type="audio", data="aGk=", mimeType="audio/wav"),
            ResourceLink(type="resource_link", name="a", uri=AnyUrl("shop://a")),
        ]

    @shop.tool()
    def stock() -> dict[str, int]:
        return {"apples": 3}

    async with serve_app(shop.streamable_http_app()) as serving:
        toolbox = await open_toolbox(tools, f"{serving}/mcp")
        said = await toolbox["picture"].call({}, "key")
        assert said.output == "see\n[image: image/png]\n[audio: audio/wav]\n[resource: shop://a]"
        assert orjson.loads((await toolbox["stock"].call({}, "key")).output) == {"apples": 3}


async def test_redirect_to_the_same_server(tools: Tools, calls: Calls) -> None:
    """A server may send calls on to another of its own paths."""
    app = build_app(calls)

    async def redirecting(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] == "/old":
            await send({"type": "http.response.start", "status": 307, "headers": [(b"location", b"/mcp")]})
            await send({"type": "http.response.body"})
        else:
            await app(scope, receive, send)

    async with serve_app(redirecting) as serving:
        toolbox = await open_toolbox(tools, f"{serving}/old", SECRETS)
        assert await toolbox["add"].call({"a": 1, "b": 2}, "key") == ToolResult("3")
    assert calls.executions[0].headers["authorization"] == "Bearer secret-token"
