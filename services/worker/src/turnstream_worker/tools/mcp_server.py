"""An MCP server as one client reaches it: what tools it has, and what they answer."""

import asyncio
import ssl
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any

import orjson
from mcp.types import (
    CallToolRequest,
    CallToolRequestParams,
    ClientRequest,
    ListToolsRequest,
    PaginatedRequestParams,
    RequestParams,
)
from pydantic import BaseModel, ConfigDict, Field

from turnstream.guard import Guard
from turnstream_worker.tools.background import Background
from turnstream_worker.tools.mcp_address import McpAddress
from turnstream_worker.tools.mcp_connection import McpConnection
from turnstream_worker.tools.mcp_errors import LateError, StatusError, TooLargeError, not_mcp
from turnstream_worker.tools.mcp_sse import SseWire
from turnstream_worker.tools.mcp_streamable import StreamableWire
from turnstream_worker.tools.mcp_wire import Wire
from turnstream_worker.tools.tool import ToolError

TOOLS_LIMIT = 128  # of one server
LIST_LIMIT = 1 << 20  # bytes that their descriptions and schemas may have together
# The name by which a call carries its idempotency key in its `_meta`.
KEY = "turnstream/idempotency_key"
# By these a server answers `initialize` that does not know streamable HTTP.
NOT_SPOKEN = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED})


@dataclass(frozen=True, slots=True)
class McpLimits:
    """How long a server may take, and how much it may say."""

    connect: float  # seconds to connect, and to list tools
    call: float  # seconds of a call
    output: int  # bytes of a call's result


class Result(BaseModel):
    """What a tool returned."""

    model_config = ConfigDict(frozen=True)

    content: list[dict[str, Any]] = []
    structured: dict[str, Any] | None = Field(None, alias="structuredContent")
    failed: bool = Field(default=False, alias="isError")


class _ListedTool(BaseModel):
    name: Annotated[str, Field(min_length=1, max_length=256)]
    description: str | None = None
    input_schema: dict[str, Any] = Field(alias="inputSchema")
    annotations: dict[str, Any] | None = None


class _Page(BaseModel):
    tools: list[_ListedTool]
    next_cursor: str | None = Field(None, alias="nextCursor")


class McpServer:
    """Asks a server by whichever transport it speaks. Each method raises ToolError."""

    def __init__(
        self, address: McpAddress, guard: Guard, tls: ssl.SSLContext, background: Background, limits: McpLimits
    ) -> None:
        self._address = address
        self._guard = guard
        self._tls = tls
        self._background = background
        self._limits = limits
        self._connecting = asyncio.Lock()
        self._connection: McpConnection | None = None

    async def list_tools(self) -> list[dict[str, Any]]:
        """Return all tools: `name`, `description`, `input_schema` and `annotations` of each."""
        connection = await self._connected()
        try:
            async with asyncio.timeout(self._limits.connect):
                return await self._all_pages(connection)
        except TimeoutError as error:
            raise LateError(self._limits.connect) from error

    async def call(self, name: str, arguments: dict[str, Any], key: str) -> Result:
        """Run a tool under an idempotency key."""
        params = CallToolRequestParams(name=name, arguments=arguments, _meta=RequestParams.Meta(**{KEY: key}))
        request = ClientRequest(CallToolRequest(params=params))
        # A result may come twice, as text and as structured content, and JSON in JSON is escaped.
        limit = 4 * self._limits.output + (64 << 10)
        connection = await self._connected()
        return await connection.ask(request, Result, self._limits.call, limit, key)

    def close(self) -> None:
        """End the session and close the connections, in the background."""
        if self._connection:
            self._connection.close()

    async def _all_pages(self, connection: McpConnection) -> list[dict[str, Any]]:
        tools: list[dict[str, Any]] = []
        params: PaginatedRequestParams | None = None
        while True:
            request = ClientRequest(ListToolsRequest(params=params))
            page = await connection.ask(request, _Page, self._limits.connect, LIST_LIMIT)
            tools += [tool.model_dump() for tool in page.tools]
            _check_size(tools)
            if not page.next_cursor or not page.tools:
                return tools
            params = PaginatedRequestParams(cursor=page.next_cursor)

    async def _connected(self) -> McpConnection:
        try:
            async with asyncio.timeout(self._limits.connect), self._connecting:
                self._connection = self._connection or await self._connect()
                return self._connection
        except TimeoutError as error:
            raise LateError(self._limits.connect) from error

    async def _connect(self) -> McpConnection:
        try:
            return await self._opened(StreamableWire)
        except StatusError as error:
            if error.status not in NOT_SPOKEN:
                raise
            return await self._connect_as_of_old(error)

    async def _connect_as_of_old(self, refusal: StatusError) -> McpConnection:
        """Connect by the transport that came before; a server that knows neither has said so by its first refusal."""
        try:
            return await self._opened(SseWire)
        except StatusError as error:
            raise refusal from error

    async def _opened(self, wire: type[Wire]) -> McpConnection:
        connection = McpConnection(wire(self._address, self._guard, self._tls), self._background)
        try:
            await connection.open(self._limits.connect)
        except (asyncio.CancelledError, ToolError):
            connection.close()
            raise
        return connection


def _check_size(tools: list[dict[str, Any]]) -> None:
    if len(tools) > TOOLS_LIMIT:
        raise ToolError(f"The MCP server has more than {TOOLS_LIMIT} tools.", reason="too_large")
    try:
        size = len(orjson.dumps(tools))
    except orjson.JSONEncodeError as error:  # nested too deeply
        raise not_mcp() from error
    if size > LIST_LIMIT:
        raise TooLargeError(LIST_LIMIT)
