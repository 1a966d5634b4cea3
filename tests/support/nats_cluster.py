"""Three NATS servers as one cluster on loopback, and an infrastructure whose streams are kept by all of them."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import cycle
from pathlib import Path
from shutil import rmtree
from string import Template
from typing import Any

import nats
from nats.aio.client import Client
from nats.errors import NoRespondersError

from support.infrastructure import Infrastructure, Server
from turnstream_local.layout import temporary_data_directory
from turnstream_local.nats_server import NatsServer
from turnstream_local.ports import LOOPBACK, free_port

SIZE = 3
ELECTION = 30.0  # seconds; one takes 4 to 9
POLL = 0.1  # seconds

CLUSTER = Template("""\
cluster {
  name: "turnstream-tests"
  listen: "$host:$port"
  routes: $routes
}
""")


class Node(NatsServer):
    """One server of a cluster, with a folder of its own."""

    def __init__(self, folder: Path, number: int, routes: dict[int, int]) -> None:
        super().__init__(folder / f"nats-{number}")
        self.name = f"nats-{number}"
        self._number = number
        self._routes = routes  # ports by the servers' numbers

    def share(self, other: "Node") -> None:
        """Take over another's passwords, so that a client is known to all of the cluster."""
        (self._data.nats / "passwords.json").write_bytes((other._data.nats / "passwords.json").read_bytes())
        self.prepare()

    def _configured(self) -> str:
        others = [f"nats://{LOOPBACK}:{port}" for number, port in self._routes.items() if number != self._number]
        cluster = CLUSTER.substitute(host=LOOPBACK, port=self._routes[self._number], routes=json.dumps(others))
        return super()._configured().replace('"turnstream-local"', json.dumps(self.name)) + cluster


class NatsCluster:
    """The servers together. It can be broken as one server can."""

    pid = None  # it has several

    def __init__(self, folder: Path) -> None:
        routes = {number: free_port() for number in range(SIZE)}
        self.nodes = [Node(folder, number, routes) for number in routes]
        self._turn = cycle(self.nodes)

    def url_for(self, user: str) -> str:
        """Return the next server's address with the credentials of a user; from there a client learns the others'."""
        return next(self._turn).url_for(user)

    async def start(self) -> None:
        """Start those that do not run; return when they have elected a leader."""
        self.nodes[0].prepare()
        for node in self.nodes:
            node.prepare()
            node.share(self.nodes[0])
        await asyncio.gather(*(node.start() for node in self.nodes if node.pid is None))
        async with asyncio.timeout(ELECTION), self._client() as client:
            while "error" in await _ask(client, "$JS.API.INFO"):  # noqa: ASYNC110 - servers hold the election
                await asyncio.sleep(POLL)

    async def stop(self) -> None:
        """Stop all of them in order."""
        await asyncio.gather(*(node.stop() for node in self.nodes))

    async def kill(self) -> None:
        """Kill all of them."""
        await asyncio.gather(*(node.kill() for node in self.nodes))

    async def leader(self, stream: str) -> Node:
        """Return the server that leads a stream."""
        async with asyncio.timeout(ELECTION), self._client() as client:
            while True:
                name = (await _ask(client, f"$JS.API.STREAM.INFO.{stream}")).get("cluster", {}).get("leader")
                for node in self.nodes:
                    if node.name == name:
                        return node
                await asyncio.sleep(POLL)

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[Client]:
        running = [node.url for node in self.nodes if node.pid is not None]
        client = await nats.connect(running)
        try:
            yield client
        finally:
            await client.close()


async def _ask(client: Client, subject: str) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = json.loads((await client.request(subject, timeout=1)).data)
    except (TimeoutError, NoRespondersError):  # nobody leads
        return {"error": {}}
    return answer


class Clustered(Infrastructure):
    """An infrastructure whose NATS is a cluster."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, replicas=SIZE)
        self.cluster = NatsCluster(folder)

    @property
    def nats(self) -> Server:
        """The whole cluster."""
        return self.cluster

    def nats_url(self, service: str) -> str:
        """Return one of the servers' URLs with the user of a service; another one each time."""
        return self.cluster.url_for(service)

    async def lose_streams(self) -> None:
        """Kill the whole cluster, and let it come back on empty disks."""
        await self.cluster.kill()
        for node in self.cluster.nodes:
            rmtree(node.store)
        await self.cluster.start()


@asynccontextmanager
async def clustered() -> AsyncIterator[Clustered]:
    """Run three NATS servers and a Postgres, with three replicas of each stream."""
    with temporary_data_directory() as folder:
        infrastructure = Clustered(folder)
        try:
            await asyncio.gather(infrastructure.cluster.start(), infrastructure.postgres.start())
            await infrastructure.provision()
            yield infrastructure
        finally:
            await asyncio.gather(infrastructure.cluster.kill(), infrastructure.postgres.kill())
