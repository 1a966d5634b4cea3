"""The seam where tests get their NATS and Postgres: another provider needs to offer no more than this."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from shutil import rmtree
from typing import Any, Protocol

import asyncpg
import nats

from turnstream.provision import ProvisionSettings, provision
from turnstream_local.layout import temporary_data_directory
from turnstream_local.nats_server import NatsServer
from turnstream_local.postgres import Postgres

ACK_WAIT = 2  # seconds; short, so that a dead worker's turns come again within a test


class Server(Protocol):
    """A server that can be broken. Its address stays the same over restarts."""

    async def stop(self) -> object:
        """Stop it as an operator would."""

    async def kill(self) -> None:
        """Kill it without warning."""

    async def start(self) -> None:
        """Start it on the data that it had."""

    @property
    def pid(self) -> int | None:
        """Its process, to be paused."""


class Infrastructure:
    """A provisioned NATS and Postgres."""

    def __init__(self, folder: Path, ack_wait: float = ACK_WAIT, replicas: int = 1) -> None:
        self.folder = folder  # for the logs of what runs on it
        self._ack_wait = ack_wait  # seconds
        self._replicas = replicas  # of each stream
        self._nats = NatsServer(folder)
        self._postgres = Postgres(folder)

    @property
    def nats(self) -> Server:
        """The NATS server."""
        return self._nats

    @property
    def postgres(self) -> Server:
        """The Postgres server."""
        return self._postgres

    @property
    def dsn(self) -> str:
        """The database."""
        return self._postgres.dsn

    def nats_url(self, service: str) -> str:
        """Return the NATS server's URL with the user of a service."""
        return self._nats.url_for(service)

    async def provision(self, *, queue_depth_per_tenant: int = 1000, queue_depth: int = 20_000) -> None:
        """Take the provisioning step, with a queue of this depth."""
        settings = ProvisionSettings(
            nats_url=self.nats_url("provision"),
            postgres_dsn=self.dsn,
            ack_wait=self._ack_wait,
            replicas=self._replicas,
            queue_depth_per_tenant=queue_depth_per_tenant,
            queue_depth=queue_depth,
        )
        await provision(settings, asyncio.Event())

    async def expire(self, turn: str, *, keep: int) -> None:
        """Let a turn's log lose all but its last `keep` batches, as if by age."""
        connection = await asyncpg.connect(self.dsn)
        while await connection.fetchval("SELECT turn FROM open_turns WHERE turn = $1", turn):  # noqa: ASYNC110
            await asyncio.sleep(0.05)  # a turn that has just ended is closed a moment later
        await connection.close()
        client = await nats.connect(self.nats_url("provision"))
        await client.jetstream().purge_stream("EVENTS", subject=f"events.default.{turn}", keep=keep)
        await client.close()

    async def wipe(self) -> None:
        """Kill NATS, and let it come back on an empty disk, provisioned anew."""
        await self.lose_streams()
        await self.provision()

    async def lose_streams(self) -> None:
        """Kill NATS, and let it come back on an empty disk."""
        await self._nats.kill()
        rmtree(self._nats.store)
        await self._nats.start()

    async def forget_run(self, turn: str) -> None:
        """Make a turn as if its gateway had died between storing and queueing it."""
        connection = await asyncpg.connect(self.dsn)
        await connection.execute(
            "UPDATE turns SET status = 'queued', output = NULL, completed_at = NULL WHERE id = $1", turn
        )
        await connection.execute("DELETE FROM open_turns WHERE turn = $1", turn)
        await connection.execute("INSERT INTO open_turns (turn, tenant) VALUES ($1, 'default')", turn)
        await connection.close()
        client = await nats.connect(self.nats_url("provision"))
        await client.jetstream().purge_stream("EVENTS", subject=f"events.default.{turn}")
        await client.close()
        await self.lose_queue()  # one that is made anew has not seen the turn's message id

    async def lose_queue(self) -> None:
        """Make the queue of turns anew, as if its server had lost its disk."""
        client = await nats.connect(self.nats_url("provision"))
        await client.jetstream().delete_stream("TURNS")
        await client.close()
        await self.provision()

    async def open_turns(self) -> dict[str, Mapping[str, Any]]:
        """Return what changes of the turns that are open, by their ids."""
        connection = await asyncpg.connect(self.dsn)
        try:
            return {row["turn"]: dict(row) for row in await connection.fetch("SELECT * FROM open_turns")}
        finally:
            await connection.close()


@asynccontextmanager
async def embedded(ack_wait: float = ACK_WAIT) -> AsyncIterator[Infrastructure]:
    """Run both as processes from their PyPI packages."""
    with temporary_data_directory() as folder:
        infrastructure = Infrastructure(folder, ack_wait)
        await asyncio.gather(infrastructure.nats.start(), infrastructure.postgres.start())
        try:
            await infrastructure.provision()
            yield infrastructure
        finally:
            await asyncio.gather(infrastructure.nats.kill(), infrastructure.postgres.kill())
