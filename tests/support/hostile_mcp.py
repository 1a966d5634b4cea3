"""What an MCP server should not answer, and what becomes of it."""

from typing import Any

import pytest

from support.scripted_mcp import Answer, result, said, silent, status
from turnstream_worker.settings import WorkerSettings
from turnstream_worker.tools.tool import Tool, ToolError
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
