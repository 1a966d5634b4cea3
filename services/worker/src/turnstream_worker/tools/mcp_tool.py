"""A tool of an MCP server."""

from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from turnstream.logs import log
from turnstream_worker.tools.mcp_address import McpAddress
from turnstream_worker.tools.mcp_errors import not_mcp
from turnstream_worker.tools.mcp_server import Result
from turnstream_worker.tools.mcp_servers import McpServers
from turnstream_worker.tools.tool import OnUncertain, ToolError, ToolResult


@dataclass(frozen=True, slots=True)
class McpTool:
    """Calls a server's tool."""

    name: str
    definition: dict[str, Any]
    on_uncertain: OnUncertain
    needs_approval: bool
    shown: dict[str, Any]
    server: dict[str, Any] = field(repr=False)  # as the request names it
    secrets: dict[str, Any] = field(repr=False)
    tenant: str
    servers: McpServers
    output_limit: int  # bytes
    kind: Literal["mcp_call"] = "mcp_call"

    async def call(self, arguments: dict[str, Any], key: str) -> ToolResult:
        """Run the tool on its server."""
        host = None
        try:
            address = McpAddress.of(self.server, self.secrets)
            host = address.url.raw_host
            result = await self.servers.ask(
                self.tenant, address, lambda server: server.call(self.shown["name"], arguments, key)
            )
            return ToolResult(self._checked(told(result)), result.failed)
        except ToolError as error:
            log.info("tool.failed", host=host, reason=error.reason)
            return ToolResult(error.message, failed=True)

    def _checked(self, output: str) -> str:
        if len(output.encode()) > self.output_limit:
            raise ToolError(f"The tool's result is larger than {self.output_limit} bytes.", reason="too_large")
        return output


def told(result: Result) -> str:
    """Return what a model is told of a result: its texts, and a note in place of what is none."""
    parts = [_part(part) for part in result.content]
    if result.structured is not None and not any(part.get("type") == "text" for part in result.content):
        try:
            parts.insert(0, orjson.dumps(result.structured).decode())
        except orjson.JSONEncodeError as error:  # nested too deeply
            raise not_mcp() from error
    return "\n".join(parts)


def _part(part: dict[str, Any]) -> str:
    match part:
        case {"type": "text", "text": str(text)}:
            return text
        case {"type": "resource", "resource": {"text": str(text)}}:
            return text
        case {"type": "resource", "resource": {"uri": str(place)}} | {"type": "resource_link", "uri": str(place)}:
            return f"[resource: {place}]"
        case {"type": str(kind), "mimeType": str(media_type)}:
            return f"[{kind}: {media_type}]"
        case {"type": str(kind)}:
            return f"[{kind}]"
    raise not_mcp()
