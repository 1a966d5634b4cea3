"""A network between a process and a server, which can be cut: a TCP proxy on loopback."""

import asyncio
import socket
import struct
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Self
from urllib.parse import parse_qs, quote, urlsplit

from turnstream_local.ports import LOOPBACK

CHUNK = 64 << 10  # bytes
RESET = struct.pack("ii", 1, 0)  # SO_LINGER without time: closing resets the connection

type Connect = Callable[[], Awaitable[tuple[StreamReader, StreamWriter]]]


class Proxy:
    """Forwards the connections to one port of its own. Use it with `async with`."""

    def __init__(self, connect: Connect) -> None:
        self.port = 0
        self._connect = connect
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._refusing = False
        self._writers: set[StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._forward, LOOPBACK)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server
        self._server.close()
        self.refuse()
        self._flowing.set()
        await self._server.wait_closed()

    def refuse(self) -> None:
        """Reset all connections, and each new one."""
        self._refusing = True
        self.reset()

    def reset(self) -> None:
        """Reset the connections that there are."""
        for writer in self._writers:
            _reset(writer)

    def swallow(self) -> None:
        """Forward nothing and close nothing, until it is healed; what was sent meanwhile arrives then."""
        self._flowing.clear()

    def heal(self) -> None:
        """Forward again."""
        self._refusing = False
        self._flowing.set()

    async def _forward(self, reader: StreamReader, writer: StreamWriter) -> None:
        ends = {writer}
        self._writers.add(writer)
        try:
            await self._flowing.wait()
            if self._refusing:
                _reset(writer)
                return
            there, to_there = await self._connect()
            ends.add(to_there)
            self._writers.add(to_there)
            await asyncio.gather(self._pump(reader, to_there), self._pump(there, writer))
        except OSError:
            pass  # either end has gone, and takes the other with it
        finally:
            self._writers -= ends
            for end in ends:
                end.close()
            for end in ends:
                with suppress(OSError):
                    await end.wait_closed()

    async def _pump(self, reader: StreamReader, writer: StreamWriter) -> None:
        while data := await reader.read(CHUNK):
            await self._flowing.wait()
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError("one end was closed")


def nats_proxy(url: str) -> Proxy:
    """Return a proxy of the NATS server at a URL."""
    parts = urlsplit(url)
    return Proxy(lambda: asyncio.open_connection(parts.hostname, parts.port))


def postgres_proxy(dsn: str) -> Proxy:
    """Return a proxy of the Postgres server whose unix socket an address names."""
    asked = parse_qs(urlsplit(dsn).query)
    path = f"{asked['host'][0]}/.s.PGSQL.{asked['port'][0]}"
    return Proxy(lambda: asyncio.open_unix_connection(path))


def through(url: str, proxy: Proxy) -> str:
    """Return a server's URL with the proxy as its place."""
    parts = urlsplit(url)
    credentials = f"{quote(parts.username or '')}:{quote(parts.password or '')}"
    query = "sslmode=disable" if parts.scheme == "postgresql" else ""
    return parts._replace(netloc=f"{credentials}@{LOOPBACK}:{proxy.port}", query=query).geturl()


def _reset(writer: StreamWriter) -> None:
    if connection := writer.get_extra_info("socket"):
        with suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()
