"""Turns that call tools of an MCP server, and what the server has seen of them."""

from dataclasses import dataclass
from typing import Any

import httpx

from support.deployment import Deployment
from support.reader import Transcript

# The server is on loopback, which a client may not name unless the operator allows it.
ALLOWED: dict[str, Any] = {"TURNSTREAM_FETCH_ALLOW": '["127.0.0.1"]'}


@dataclass(frozen=True, slots=True)
class ToolServer:
    """An MCP server."""

    url: str

    @classmethod
    async def start(cls, deployment: Deployment) -> "ToolServer":
        """Start one beside a deployment."""
        return cls(await deployment.start_tools())

    def tool(self, approval: str = "never", **fields: Any) -> dict[str, Any]:
        """Return the tool of a request that names this server."""
        named = {"type": "mcp", "server_label": "shop", "server_url": f"{self.url}/mcp"}
        return {**named, "require_approval": approval, **fields}

    async def calls(self, turn: Transcript | None = None) -> list[dict[str, Any]]:
        """Return what was executed, for a turn or at all, in order."""
        async with httpx.AsyncClient(base_url=self.url) as client:
            executed: list[dict[str, Any]] = (await client.get("/calls")).json()
        return [call for call in executed if turn is None or call["key"].startswith(f"{turn.id}:")]

    async def delay(self, seconds: float) -> None:
        """Let a charge take so long from now on."""
        async with httpx.AsyncClient(base_url=self.url) as client:
            (await client.post("/delay", json={"seconds": seconds})).raise_for_status()


def calling(name: str, **arguments: Any) -> dict[str, Any]:
    """Make the model's answer that calls a tool."""
    return {"tool_calls": [{"name": name, "arguments": arguments}]}


def saying(text: str) -> dict[str, Any]:
    """Make the model's answer that says something."""
    return {"text": text}
