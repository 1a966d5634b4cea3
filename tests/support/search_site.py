"""Stands in for the search providers' sites: a proxy that is itself what it is asked to connect to, with TLS."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson

from support.certificate import write_certificate

HOSTS = ("api.search.brave.com", "api.tavily.com")


class SearchSite:
    """Answers each host with its answer, a status and JSON, and remembers what it was asked."""

    def __init__(self, folder: Path) -> None:
        self.certificate = folder / "search.pem"
        self.url = ""
        self.answers: dict[str, tuple[int, Any]] = {}
        self.asked: list[tuple[str, dict[str, str], bytes]] = []  # request lines, headers in lower case, bodies
        write_certificate(self.certificate, HOSTS)
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(self.certificate, self.certificate.with_suffix(".key"))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection and one request in it."""
        try:
            tunnel, _ = await _head(reader)
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            await writer.start_tls(self._tls)
            line, headers = await _head(reader)
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            self.asked.append((line, headers, body))
            status, answer = self.answers[tunnel.split(" ")[1].partition(":")[0]]
            data = answer if isinstance(answer, bytes) else orjson.dumps(answer)
            writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (status, len(data)))
            writer.write(data)
            await writer.drain()
        finally:
            writer.close()


@asynccontextmanager
async def serve_searches(folder: Path) -> AsyncIterator[SearchSite]:
    """Yield a site on loopback; whoever trusts its certificate and takes it for a proxy searches by it."""
    site = SearchSite(folder)
    server = await asyncio.start_server(site.serve, "127.0.0.1", 0)
    site.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield site
    finally:
        server.close()


async def _head(reader: asyncio.StreamReader) -> tuple[str, dict[str, str]]:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = (line.partition(": ") for line in lines if line)
    return first, {name.lower(): value for name, _, value in headers}
