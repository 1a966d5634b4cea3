"""Tools of MCP servers that do not behave: whatever they send is a clean error, bounded in time and size."""

import asyncio
import gzip
import tracemalloc
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
import pytest
from support.asgi import serve_app
from support.scripted_mcp import RESULTS, TOOL, Answer, ScriptedMcp, Send, begin, endless, result, said, silent, status
from support.site import serve_site

from turnstream_worker.settings import WorkerSettings
from turnstream_worker.tools.mcp_server import LIST_LIMIT, TOOLS_LIMIT
from turnstream_worker.tools.tool import Tool, ToolError, ToolResult
from turnstream_worker.tools.tools import Tools

SECRETS = {"tools": {"shop": {"headers": {"x-shop": "secret-header"}, "authorization": "secret-token"}}}
INSIDE = "127.0.0.2"  # an address that is not allowed
EVENTS = "text/event-stream"
LISTED = [{"name": "add", "description": "Add.", "input_schema": {"type": "object"}, "annotations": None}]

INVALID = "The MCP server's answer is not valid MCP."
UNREACHABLE = "The MCP server could not be reached. Only servers on the public Internet can be."
PATIENCE = 0.5  # seconds
LATE = f"The MCP server did not answer within {PATIENCE} seconds."
BROKEN = "The connection to the MCP server broke before it answered."
ELSEWHERE = "The MCP server redirects to another server."

RUBBISH: dict[str, tuple[Answer, str]] = {
    "hangs": (silent(), LATE),
    "hangs in JSON": (silent("application/json", b"{"), LATE),
    "hangs in events": (silent(EVENTS, b": hello\n\n"), LATE),
    "fails": (status(500), "The MCP server answered with HTTP status 500."),
    "is busy": (status(429), "The MCP server answered with HTTP status 429."),
    "wants other credentials": (
        status(401),
        "The MCP server refused the credentials: it answered with HTTP status 401.",
    ),
    "says nothing": (status(202), INVALID),
    "is a web page": (said(b"<html>secret-token</html>", "text/html"), INVALID),
    "is no JSON": (said(b"nonsense"), INVALID),
    "is broken UTF-8": (said(b'{"jsonrpc": "2.0", "result": "\xff"}'), INVALID),
    "is a number": (said(b"1"), INVALID),
    "is a list of numbers": (said(b"[1]"), INVALID),
    "is nested without end": (said(b"[" * 50_000), INVALID),
    "has another id": (said(b'{"jsonrpc": "2.0", "id": 999, "result": {}}'), LATE),
    "has no result": (said(b'{"jsonrpc": "2.0", "id": 1}'), INVALID),
    "is an odd result": (result({"tools": 1, "content": 1}), INVALID),
    "is no object": (result("x"), INVALID),
    "has no events": (said(b"", EVENTS), INVALID),
    "has odd events": (said(b"data: nonsense\n\n", EVENTS), INVALID),
    "breaks off": (said(b"{", **{"content-length": "100"}), BROKEN),
    "redirects inside": (status(307, location=f"http://{INSIDE}:1/mcp"), ELSEWHERE),
    "redirects elsewhere": (status(307, location="https://example.com/mcp"), ELSEWHERE),
    "redirects to no URL": (status(308, location="file:///etc/passwd"), ELSEWHERE),
    "redirects as a GET": (status(302, location="/other"), "The MCP server answered with HTTP status 302."),
    "redirects to itself": (status(307, location="/mcp"), "The MCP server redirects more than 5 times."),
}


@pytest.fixture(scope="module")
async def serving() -> AsyncIterator[tuple[ScriptedMcp, str]]:
    """A server for all of these tests."""
    scripted = ScriptedMcp()
    async with serve_app(scripted) as url:
        yield scripted, f"{url}/mcp"


@pytest.fixture
def shop(serving: tuple[ScriptedMcp, str]) -> tuple[ScriptedMcp, str]:
    """A server that behaves so far, and its URL."""
    serving[0].reset()
    return serving


def new_tools(patience: float) -> Tools:
    """Return tools that may reach 127.0.0.1, whose servers may take so many seconds."""
    settings = {
        "nats_url": "nats://nobody",
        "postgres_dsn": "postgresql://nobody",
        "fetch_allow": ["127.0.0.1"],
        "mcp_timeout": patience,
        "tool_timeout": patience,
        "tool_output": 1000,
    }
    return Tools(WorkerSettings.model_validate(settings))


@pytest.fixture
def logged(capfdbinary: pytest.CaptureFixture[bytes], caplog: pytest.LogCaptureFixture) -> Callable[[], bytes]:
    """Return what was logged since, by whichever way."""
    return lambda: b"".join(capfdbinary.readouterr()) + caplog.text.encode()


@pytest.fixture
async def tools() -> AsyncIterator[Tools]:
    """Tools of little patience."""
    made = new_tools(PATIENCE)
    yield made
    await made.close()


@pytest.fixture
async def patient() -> AsyncIterator[Tools]:
    """Tools that wait long enough for any answer that ends at a limit."""
    made = new_tools(30)
    yield made
    await made.close()


def server(url: str) -> dict[str, Any]:
    """Return a request's tool."""
    return {"type": "mcp", "server_label": "shop", "server_url": url, "require_approval": "never"}


async def why_not_listed(tools: Tools, url: str) -> str:
    """Return the error that listing a server's tools ends with."""
    with pytest.raises(ToolError) as failed:
        await tools.list_tools(server(url), SECRETS, "tenant")
    return failed.value.message


def add(tools: Tools, url: str) -> Tool:
    """Return a tool without listing it."""
    return tools.toolbox([server(url)], {"shop": LISTED}, set(), SECRETS, "tenant")["add"]


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


@pytest.mark.parametrize(
    "host",
    [
        *(INSIDE, "[::1]", "localhost", "2130706434", "169.254.169.254", "999.1.1.1"),
        *("inside.test", "mixed.test", "unknown.test"),
    ],
)
async def test_hosts_out_of_reach(host: str) -> None:
    """A server inside is not asked, however it is named, and looks like one that is not there."""
    lookups = {"localhost": ["127.0.0.1"], "2130706434": [INSIDE], "inside.test": [INSIDE]}

    def look_up(name: str) -> list[str]:
        if name == "unknown.test":
            raise OSError("no such host")
        return lookups.get(name, ["93.184.216.34", INSIDE])

    settings = {"nats_url": "nats://nobody", "postgres_dsn": "postgresql://nobody"}
    guarded = Tools(WorkerSettings.model_validate(settings), look_up)
    async with serve_site(INSIDE) as inside:
        url = f"http://{host}:{inside.port}/mcp"
        assert await why_not_listed(guarded, url) == UNREACHABLE
        assert await add(guarded, url).call({}, "key") == ToolResult(UNREACHABLE, failed=True)
        assert inside.asked == []
    await guarded.close()


async def test_nobody_listens(tools: Tools, unused_tcp_port: int) -> None:
    """A server that is down could not be reached."""
    assert await why_not_listed(tools, f"http://127.0.0.1:{unused_tcp_port}/mcp") == UNREACHABLE


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "http://user:password@127.0.0.1/", "http://[", "nonsense"])
async def test_what_is_no_url(tools: Tools, url: str) -> None:
    """What is no URL of the web is refused as it is."""
    message = await why_not_listed(tools, url)
    assert message.startswith("The MCP server cannot be called. Its URL must be")
    assert "password@" not in message


@pytest.mark.parametrize("headers", [{"x": "secret\r\nHost: inside.test"}, {"x\ny": "secret"}])
async def test_headers_that_would_be_others(
    tools: Tools, shop: tuple[ScriptedMcp, str], headers: dict[str, str]
) -> None:
    """A header with a line break in it is not sent, and not repeated."""
    scripted, url = shop
    with pytest.raises(ToolError) as failed:
        await tools.list_tools(server(url), {"tools": {"shop": {"headers": headers}}}, "tenant")
    assert failed.value.message == BROKEN
    assert scripted.headers == []


async def test_credentials_stay_with_the_server(tools: Tools, shop: tuple[ScriptedMcp, str]) -> None:
    """Neither a redirect nor the endpoint of an older transport leads credentials to another server."""
    scripted, url = shop
    async with serve_app(thief := ScriptedMcp()) as elsewhere:
        scripted.answers["initialize"] = status(307, location=f"{elsewhere}/mcp")
        assert await why_not_listed(tools, url) == ELSEWHERE
        scripted.answers["initialize"] = status(405)
        scripted.answers["GET"] = said(f"event: endpoint\ndata: {elsewhere}/mcp\n\n".encode(), EVENTS)
        assert await why_not_listed(tools, url) == LATE
        assert thief.headers == []


async def test_cookies_are_not_kept(tools: Tools, shop: tuple[ScriptedMcp, str]) -> None:
    """A cookie that a server sets is not sent back, and a proxy that the environment names is not used."""
    scripted, url = shop
    scripted.answers["notifications/initialized"] = status(202, **{"set-cookie": "a=b; Path=/"})
    assert await tools.list_tools(server(url), SECRETS, "tenant") == LISTED
    assert all("cookie" not in headers for headers in scripted.headers)


async def test_proxies_are_not_used(
    tools: Tools, shop: tuple[ScriptedMcp, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that the environment names is passed by: it would look names up itself."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert await tools.list_tools(server(shop[1]), SECRETS, "tenant") == LISTED


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


async def test_compressed_answer(tools: Tools, shop: tuple[ScriptedMcp, str]) -> None:
    """An answer that is compressed although nobody asked for that is not unpacked."""
    scripted, url = shop
    bomb = gzip.compress(b" " * 10_000_000)
    scripted.answers["tools/call"] = said(bomb, **{"content-encoding": "gzip"})
    assert await add(tools, url).call({}, "key") == ToolResult(INVALID, failed=True)
    assert scripted.headers[-1]["accept-encoding"] == "identity"


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
