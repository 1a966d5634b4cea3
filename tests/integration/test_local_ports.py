"""The local system's ports, which are kept from one start to the next."""

import socket
from pathlib import Path

from turnstream_local.ports import is_free, kept_port


def test_kept_port_is_the_same_until_it_is_taken(data_dir: Path) -> None:
    """A port is kept in its file while it is free, and replaced when it is not."""
    path = data_dir / "port"
    port = kept_port(path)
    assert kept_port(path) == port
    with socket.create_server(("127.0.0.1", port)):
        assert not is_free(port)
        assert kept_port(path) != port
