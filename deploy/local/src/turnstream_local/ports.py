"""TCP ports on the loopback interface."""

import secrets
import socket
from pathlib import Path

from turnstream_local.errors import PortTakenError

LOOPBACK = "127.0.0.1"
# Below the ranges from which Linux (32768 on) and macOS (49152 on) take the ports of outgoing connections: a client
# that keeps dialling a stopped server's port must not be given that same port as its own, and so connect to itself.
FIRST_PORT = 15_000
LAST_PORT = 32_000
ATTEMPTS = 200


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Tell whether a server could listen on a port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    # macOS lets an address be bound beside a listener on all addresses.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        return probe.connect_ex((host, port)) != 0


def free_port() -> int:
    """Return a port that no one listens on."""
    for _ in range(ATTEMPTS):
        port = FIRST_PORT + secrets.randbelow(LAST_PORT - FIRST_PORT)
        if is_free(port):
            return port
    raise PortTakenError(f"no free port found between {FIRST_PORT} and {LAST_PORT}")


def kept_port(path: Path) -> int:
    """Return the port in a file while it is free, else a free one that is then written there."""
    if path.exists() and is_free(port := int(path.read_text())):
        return port
    port = free_port()
    path.write_text(f"{port}\n")
    return port
