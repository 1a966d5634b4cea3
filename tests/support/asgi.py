"""An ASGI application on loopback, in the test's own loop."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn


class _Server(uvicorn.Server):
    """Tells when it is up."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()


@asynccontextmanager
async def serve_app(app: Any, port: int = 0, certificate: Path | None = None) -> AsyncIterator[str]:
    """Serve an application, with TLS if it has a certificate, and yield its URL; at the end its connections are cut."""
    listener = socket.create_server(("127.0.0.1", port))
    key = certificate and certificate.with_suffix(".key")
    config = uvicorn.Config(
        app, log_level="critical", access_log=False, ws="none", ssl_certfile=certificate, ssl_keyfile=key
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve([listener]))
    await server.up.wait()
    try:
        yield f"http{'s' if certificate else ''}://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True
        await serving
