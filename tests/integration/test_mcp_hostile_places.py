"""MCP servers that lead elsewhere: none is asked that is out of reach, or told another's credentials."""

import pytest
from support.asgi import serve_app
from support.hostile_mcp import (
    BROKEN,
    ELSEWHERE,
    EVENTS,
    INSIDE,
    LATE,
    LISTED,
    SECRETS,
    UNREACHABLE,
    add,
    server,
    why_not_listed,
)
from support.scripted_mcp import ScriptedMcp, said, status
from support.site import serve_site

from turnstream_worker.settings import WorkerSettings
from turnstream_worker.tools.tool import ToolError, ToolResult
from turnstream_worker.tools.tools import Tools


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
