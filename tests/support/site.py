"""A web server that sends what it is told, byte for byte, well-behaved or not."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

type Page = Iterable[bytes]


class Site:
    """Answers each path with its page, piece by piece, and remembers what it was asked."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.port = 0
        self.pages: dict[str, Page] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []  # paths, and headers in lower case
        self.gate: asyncio.Barrier | None = None  # what an answer waits at
        self.most_at_once = 0
        self._at_once = 0
        self.closing = asyncio.Event()

    def url(self, path: str = "/", host: str | None = None) -> str:
        """Return a page's URL, by the host's address or by a name."""
        return f"http://{host or (f'[{self.host}]' if ':' in self.host else self.host)}:{self.port}{path}"

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request; a page that ends in HANG stays silent until the site is closed."""
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            path = first.split(" ")[1]
            headers = (line.partition(": ") for line in lines if line)
            self.asked.append((path, {name.lower(): value for name, _, value in headers}))
            if self.gate:
                await self.gate.wait()
            for piece in self.pages.get(path.partition("?")[0], page(status=404)):
                if piece is HANG:
                    await self.closing.wait()
                writer.write(piece)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # whoever asked has gone
        finally:
            self._at_once -= 1
            writer.close()


HANG = b""


def page(body: bytes = b"", media_type: str = "text/plain", *, status: int = 200, more: Iterable[str] = ()) -> Page:
    """Make a page, with more lines for its head."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Type: {media_type}", f"Content-Length: {len(body)}", *more]
    return [head(*lines), body]


def head(*lines: str) -> bytes:
    """Make the head of an answer."""
    return "\r\n".join([*lines, "", ""]).encode()


def redirect(to: str, *more: str) -> Page:
    """Make a page that leads to another."""
    return page(status=302, more=[f"Location: {to}", *more])


@asynccontextmanager
async def serve_site(host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Site]:
    """Yield a site on a loopback address."""
    site = Site(host)
    server = await asyncio.start_server(site.answer, host, port)
    site.port = server.sockets[0].getsockname()[1]
    try:
        yield site
    finally:
        site.closing.set()
        server.close()
        await server.wait_closed()
