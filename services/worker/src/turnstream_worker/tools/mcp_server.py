"""An MCP server as one client reaches it: what tools it has, and what they answer."""

import asyncio
from dataclasses import dataclass
from typing import Annotated, Any

import aiohttp
import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from turnstream.errors import FetchError
from turnstream.guard import Guard
from turnstream_worker.tools import json_rpc
from turnstream_worker.tools.background import Background
from turnstream_worker.tools.event_stream import TooLargeError
from turnstream_worker.tools.mcp_address import McpAddress
from turnstream_worker.tools.mcp_sse import HttpWithEvents
from turnstream_worker.tools.mcp_streamable import NotSpokenError, StreamableHttp
from turnstream_worker.tools.mcp_transport import Question, Transport, late, unreachable
from turnstream_worker.tools.tool import ToolError

TOOLS_LIMIT = 128  # of one server
LIST_LIMIT = 1 << 20  # bytes that their descriptions and schemas may have together
CONNECTIONS_LIMIT = 16  # to one server at a time; further calls wait
# Seconds that a connection is kept without use. Servers keep theirs for five at least, and a call that goes into one
# that is just being closed is lost.
KEEP = 2
# Names by which a call carries its idempotency key: in its `_meta`, and as a header for what stands before a server.
KEY = "turnstream/idempotency_key"


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

    def __init__(self, address: McpAddress, guard: Guard, background: Background, limits: McpLimits) -> None:
        self._address = address
        self._guard = guard
        self._background = background
        self._limits = limits
        self._connecting = asyncio.Lock()
        self._http: aiohttp.ClientSession | None = None
        self._transport: Transport | None = None

    async def list_tools(self) -> list[dict[str, Any]]:
        """Return all tools: `name`, `description`, `input_schema` and `annotations` of each."""
        try:
            async with asyncio.timeout(self._limits.connect):
                return await self._all_pages()
        except TimeoutError as error:
            raise late(self._limits.connect) from error

    async def call(self, name: str, arguments: dict[str, Any], key: str) -> Result:
        """Run a tool under an idempotency key."""
        params = {"name": name, "arguments": arguments, "_meta": {KEY: key}}
        # A result may come twice, as text and as structured content, and JSON in JSON is escaped.
        limit = 4 * self._limits.output + (64 << 10)
        return _validated(Result, await self._ask(Question("tools/call", params, self._limits.call, limit, key)))

    async def close(self) -> None:
        """End the session and close the connections."""
        try:
            if self._transport:
                await self._transport.close()
        finally:
            if self._http:
                await self._http.close()

    async def _all_pages(self) -> list[dict[str, Any]]:
        tools: list[dict[str, Any]] = []
        params: dict[str, Any] = {}
        while True:
            question = Question("tools/list", params, self._limits.connect, LIST_LIMIT)
            page = _validated(_Page, await self._ask(question))
            tools += [tool.model_dump() for tool in page.tools]
            _check_size(tools)
            if not page.next_cursor or not page.tools:
                return tools
            params = {"cursor": page.next_cursor}

    async def _ask(self, question: Question) -> Any:
        transport = await self._connected()
        try:
            return await transport.ask(question)
        except NotSpokenError as error:
            return await self._ask_as_of_old(question, error)

    async def _ask_as_of_old(self, question: Question, refusal: NotSpokenError) -> Any:
        """Ask by the transport that came before; a server that knows neither has said so by its first refusal."""
        assert self._http
        older = HttpWithEvents(self._http, self._address, self._background, self._limits.connect)
        try:
            result = await older.ask(question)
        except ToolError as error:
            if error.reason == "bad_status":
                raise refusal from error
            raise
        self._transport = older
        return result

    async def _connected(self) -> Transport:
        try:
            async with asyncio.timeout(self._limits.connect), self._connecting:
                if self._transport is None:
                    self._http = await self._new_session()
                    self._transport = StreamableHttp(self._http, self._address, self._background, self._limits.connect)
                return self._transport
        except TimeoutError as error:
            raise late(self._limits.connect) from error

    async def _new_session(self) -> aiohttp.ClientSession:
        """Return an HTTP client that reaches the server's host alone, and keeps nothing that it is told."""
        try:
            resolver = await self._guard.resolver(self._address.url)
        except (FetchError, OSError, UnicodeError) as error:
            raise unreachable() from error
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=resolver, use_dns_cache=False, limit=CONNECTIONS_LIMIT, keepalive_timeout=KEEP
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "Turnstream", "Accept-Encoding": "identity"},
            timeout=aiohttp.ClientTimeout(total=None),
            trust_env=False,
        )


def _validated[Model: BaseModel](model: type[Model], result: Any) -> Model:
    try:
        return model.model_validate(result)
    except ValidationError as error:
        raise json_rpc.not_mcp() from error


def _check_size(tools: list[dict[str, Any]]) -> None:
    if len(tools) > TOOLS_LIMIT:
        raise ToolError(f"The MCP server has more than {TOOLS_LIMIT} tools.", reason="too_large")
    try:
        size = len(orjson.dumps(tools))
    except orjson.JSONEncodeError as error:  # nested too deeply
        raise json_rpc.not_mcp() from error
    if size > LIST_LIMIT:
        raise TooLargeError(LIST_LIMIT)
