"""The MCP servers that this process is connected to."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from turnstream.guard import Guard
from turnstream_worker.settings import WorkerSettings
from turnstream_worker.tools.background import Background
from turnstream_worker.tools.mcp_address import McpAddress
from turnstream_worker.tools.mcp_errors import SessionGoneError
from turnstream_worker.tools.mcp_logs import silence
from turnstream_worker.tools.mcp_server import McpLimits, McpServer
from turnstream_worker.tools.tool import ToolError


@dataclass(slots=True)
class _Entry:
    server: McpServer
    users: int = 0
    end: asyncio.TimerHandle | None = None  # of its idle time


class McpServers:
    """Keeps connections for the next call of the same tenant to the same server with the same credentials."""

    def __init__(self, settings: WorkerSettings, guard: Guard) -> None:
        silence()
        self._limits = McpLimits(settings.mcp_timeout, settings.tool_timeout, settings.tool_output)
        self._limit = settings.mcp_connections
        self._idle = settings.mcp_idle
        self._guard = guard
        self._tls = ssl.create_default_context()
        self._background = Background()
        self._entries: dict[bytes, _Entry] = {}  # those used longest ago first
        self._room = asyncio.Semaphore(self._limit)  # for servers that are in use

    async def ask[Answer](
        self, tenant: str, address: McpAddress, question: Callable[[McpServer], Awaitable[Answer]]
    ) -> Answer:
        """Return what a server answers; if it has forgotten the session, it is asked again in a new one, and once.

        Raises ToolError, also if too many others are in use for too long.
        """
        try:
            async with self._use(tenant, address) as server:
                return await question(server)
        except SessionGoneError:
            async with self._use(tenant, address) as server:
                return await question(server)

    async def close(self) -> None:
        """Disconnect from all servers."""
        for key in list(self._entries):
            self._drop(key)
        await self._background.close()

    @asynccontextmanager
    async def _use(self, tenant: str, address: McpAddress) -> AsyncIterator[McpServer]:
        """Yield a server; one whose connection turns out to be broken is not used again."""
        key = address.key(tenant)
        entry = await self._take(key, address)
        try:
            yield entry.server
        except ToolError as error:
            if error.broken and self._entries.get(key) is entry:
                del self._entries[key]
            raise
        finally:
            self._give_back(key, entry)

    async def _take(self, key: bytes, address: McpAddress) -> _Entry:
        entry = self._entries.get(key)
        if not (entry and entry.users):
            await self._wait_for_room()
            entry = self._entries.get(key)
            if entry and entry.users:  # meanwhile
                self._room.release()
        if not entry:
            self._evict()
            entry = self._entries[key] = _Entry(
                McpServer(address, self._guard, self._tls, self._background, self._limits)
            )
        if entry.end:
            entry.end.cancel()
        entry.users += 1
        return entry

    async def _wait_for_room(self) -> None:
        try:
            async with asyncio.timeout(self._limits.connect):
                await self._room.acquire()
        except TimeoutError as error:
            raise ToolError("Too many MCP servers are being called at once.", reason="no_room") from error

    def _evict(self) -> None:
        """Disconnect from the server that was used longest ago, if there is one too many to connect to another."""
        if len(self._entries) >= self._limit:
            self._drop(next(key for key, entry in self._entries.items() if not entry.users))

    def _give_back(self, key: bytes, entry: _Entry) -> None:
        entry.users -= 1
        if entry.users:
            return
        self._room.release()
        if self._entries.get(key) is not entry:
            entry.server.close()
            return
        self._entries[key] = self._entries.pop(key)  # behind the others
        entry.end = asyncio.get_running_loop().call_later(self._idle, self._drop, key)

    def _drop(self, key: bytes) -> None:
        entry = self._entries.pop(key)
        if entry.end:
            entry.end.cancel()
        if not entry.users:
            entry.server.close()
