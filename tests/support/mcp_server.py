"""A well-behaved MCP server that remembers what it executed, in a test's loop or as a process of its own.

`python -m support.mcp_server --port N` serves streamable HTTP at /mcp. `/calls` lists what was executed, `/health`
answers when it is up, and `POST /delay` with `{"seconds": 2}` changes how long a charge takes.
"""

import argparse
import asyncio
from dataclasses import asdict, dataclass, field
from typing import Any

import uvicorn
from mcp.server.fastmcp import Context, FastMCP
from mcp.server.fastmcp.exceptions import ToolError
from mcp.types import ToolAnnotations
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

KEY = "turnstream/idempotency_key"

ToolContext = Context[Any, Any, Request]  # no `type` alias: FastMCP would not see through it


@dataclass(slots=True)
class Execution:
    """One tool call as it reached the server."""

    tool: str
    arguments: dict[str, Any]
    key: str | None  # the idempotency key in the call's _meta
    header_key: str | None  # the one in its HTTP header
    headers: dict[str, str]
    finished: bool = False
    cancelled: bool = False  # its client took it back


@dataclass(slots=True)
class Calls:
    """What a server executed, in order."""

    executions: list[Execution] = field(default_factory=list)
    delay: float = 0.0  # seconds that a charge takes


def build_server(calls: Calls) -> FastMCP[None]:
    """Return a server whose tools write down each call in `calls`."""
    server: FastMCP[None] = FastMCP("test", log_level="WARNING")

    @server.tool(annotations=ToolAnnotations(readOnlyHint=True))
    async def add(a: int, b: int, context: ToolContext) -> int:
        """Add two numbers."""
        _begun(calls, context, "add", a=a, b=b).finished = True
        return a + b

    @server.tool()
    async def charge(order: str, context: ToolContext) -> str:
        """Charge an order."""
        await _wait(_begun(calls, context, "charge", order=order), calls.delay)
        return f"charged {order}"

    @server.tool(annotations=ToolAnnotations(readOnlyHint=True))
    async def slow(seconds: float, context: ToolContext) -> str:
        """Take so many seconds."""
        await _wait(_begun(calls, context, "slow", seconds=seconds), seconds)
        return f"waited {seconds:g} seconds"

    @server.tool(annotations=ToolAnnotations(readOnlyHint=True))
    async def fail(context: ToolContext) -> str:
        """Fail."""
        _begun(calls, context, "fail").finished = True
        raise ToolError("this tool always fails")

    @server.tool(annotations=ToolAnnotations(readOnlyHint=True))
    async def big(bytes: int, context: ToolContext) -> str:  # noqa: A002 - the name that a model sees
        """Return a text of so many bytes."""
        _begun(calls, context, "big", bytes=bytes).finished = True
        return "x" * bytes

    return server


def build_app(calls: Calls) -> Starlette:
    """Return the application that serves those tools by streamable HTTP, and what was done with them."""

    async def executed(_: Request) -> Response:
        return JSONResponse([asdict(execution) for execution in calls.executions])

    async def set_delay(request: Request) -> Response:
        calls.delay = float((await request.json())["seconds"])
        return Response(status_code=204)

    async def health(_: Request) -> Response:
        return Response()

    app = build_server(calls).streamable_http_app()
    app.routes.append(Route("/calls", executed))
    app.routes.append(Route("/delay", set_delay, methods=["POST"]))
    app.routes.append(Route("/health", health))
    return app


def _begun(calls: Calls, context: ToolContext, tool: str, **arguments: Any) -> Execution:
    asked = context.request_context
    meta = (asked.meta and asked.meta.model_extra) or {}
    headers = dict(asked.request.headers) if asked.request else {}
    execution = Execution(tool, arguments, meta.get(KEY), headers.get("idempotency-key"), headers)
    calls.executions.append(execution)
    return execution


async def _wait(execution: Execution, seconds: float) -> None:
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        execution.cancelled = True
        raise
    execution.finished = True


def main() -> None:
    """Serve until the process is told to stop."""
    parser = argparse.ArgumentParser(prog="python -m support.mcp_server", description="Run an MCP server for tests.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds that a charge takes (default: 0)")
    asked = parser.parse_args()
    uvicorn.run(
        build_app(Calls(delay=asked.delay)),
        host=asked.host,
        port=asked.port,
        log_level="warning",
        timeout_graceful_shutdown=1,
    )


if __name__ == "__main__":
    main()
