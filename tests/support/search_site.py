"""Stands in for the search providers' sites: a proxy that is itself what it is asked to connect to, with TLS."""

import asyncio
import datetime as dt
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOSTS = ("api.search.brave.com", "api.tavily.com")


class SearchSite:
    """Answers each host with its answer, a status and JSON, and remembers what it was asked."""

    def __init__(self, folder: Path) -> None:
        self.certificate = folder / "search.pem"
        self.url = ""
        self.answers: dict[str, tuple[int, Any]] = {}
        self.asked: list[tuple[str, dict[str, str], bytes]] = []  # request lines, headers in lower case, bodies
        self._tls = _identity(self.certificate)

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


def _identity(certificate: Path) -> ssl.SSLContext:
    """Write a certificate for the providers' names, and return what proves it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in HOSTS]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret = certificate.with_suffix(".key")
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, secret)
    return context
