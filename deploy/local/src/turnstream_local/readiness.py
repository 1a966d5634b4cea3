"""How a child tells that it is ready."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Protocol

from turnstream_local.layout import SocketDirectory
from turnstream_local.ports import LOOPBACK

POLL = 0.03  # seconds
PROBE_TIMEOUT = 2.0  # seconds


class Readiness(Protocol):
    """Listened to before the child is started, waited for after it, closed in any case."""

    def listen(self) -> Mapping[str, str]:
        """Prepare to hear of the child; return what to add to its environment."""

    async def wait(self) -> None:
        """Return when the child is ready."""

    def close(self) -> None:
        """Stop listening."""


class Polled:
    """Ready when a check says so; a refused connection only means not yet."""

    def __init__(self, check: Callable[[], Awaitable[bool]]) -> None:
        self._check = check

    def listen(self) -> Mapping[str, str]:
        """Prepare nothing."""
        return {}

    async def wait(self) -> None:
        """Ask until the answer is yes."""
        while True:
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(PROBE_TIMEOUT):
                    if await self._check():
                        return
            await asyncio.sleep(POLL)

    def close(self) -> None:
        """Close nothing."""


class Notified:
    """Ready when the child sends `READY=1` to the datagram socket named by NOTIFY_SOCKET, as systemd has it."""

    def __init__(self, directory: SocketDirectory, name: str) -> None:
        self._directory = directory
        self._path = directory.path / name
        self._socket: socket.socket | None = None

    def listen(self) -> Mapping[str, str]:
        """Bind the socket anew, over what a killed supervisor may have left."""
        self._directory.create()
        self._path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)  # noqa: FBT003 - the standard library's own signature
        self._socket.bind(str(self._path))
        return {"NOTIFY_SOCKET": str(self._path)}

    async def wait(self) -> None:
        """Read datagrams until one holds the line."""
        assert self._socket
        while b"READY=1" not in (await asyncio.get_running_loop().sock_recv(self._socket, 4096)).split(b"\n"):
            pass

    def close(self) -> None:
        """Close and remove the socket; a later datagram (`STOPPING=1`) finds no one, which the protocol allows."""
        if self._socket:
            self._socket.close()
            self._socket = None
        self._path.unlink(missing_ok=True)


def answers_http(port: int, path: str) -> Polled:
    """Return a readiness that is reached when a GET on loopback is answered with 200."""

    async def check() -> bool:
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        try:
            writer.write(f"GET {path} HTTP/1.0\r\nHost: {LOOPBACK}\r\n\r\n".encode())
            status = await reader.readline()
        finally:
            writer.close()
        return status.split(b" ")[1:2] == [b"200"]

    return Polled(check)
