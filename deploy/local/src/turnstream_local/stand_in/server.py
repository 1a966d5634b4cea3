"""The server that carries the stand-in: uvicorn, taught to cut a connection."""

import socket

from uvicorn import Config, Server
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from turnstream_local.stand_in.app import StandIn

BACKLOG = 2048
"""Connections that may wait to be accepted: a benchmark opens hundreds at once."""
KEEP_ALIVE = 75
"""Seconds; longer than the clients' own, so that none sends into a connection that is being closed."""


class CuttableProtocol(HttpToolsProtocol):
    """Hands the application a way to abort its connection, for which ASGI has no word."""

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self.scope["extensions"] = {"stand_in.cut": {"abort": self.transport.abort}}


class StandInServer(Server):
    """Ends at once: an answer that hangs must not hold up the shutdown."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Cut all connections and stop."""
        for connection in list(self.server_state.connections):
            if isinstance(connection, HttpToolsProtocol):
                connection.transport.abort()
        await super().shutdown(sockets)


def serve(app: StandIn, listener: socket.socket) -> None:
    """Serve until the process is told to stop."""
    config = Config(
        app,
        http=CuttableProtocol,
        loop="uvloop",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE,
    )
    StandInServer(config).run(sockets=[listener])
