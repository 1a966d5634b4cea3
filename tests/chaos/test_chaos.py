"""The short form of `make chaos`: while everything is broken, nothing is lost, repeated or left open."""

import asyncio
from time import monotonic

import pytest
from support.infrastructure import embedded
from support.nats_cluster import clustered

from chaos.audit import audit
from chaos.client import Client
from chaos.faults import SHORT
from chaos.fleet import running
from chaos.load import Load
from chaos.record import Broken, Record
from chaos.run import Plan, look, run
from chaos.turn_maker import TurnMaker
from turnstream.subjects import EVENTS

SEED = "short-972"  # deals a worker's kill, then Postgres's and NATS', and a network that swallows
SECONDS = 10.0
CLIENTS = 6
PATIENCE = 60.0  # seconds

pytestmark = pytest.mark.timeout(240)  # seconds; a machine that is busy with other things takes several times as long


async def test_everything_breaks() -> None:
    """Turns of all kinds survive what the long form does to them, in a shorter time."""
    async with (
        embedded() as infrastructure,
        running(infrastructure, print, workers=2, gateways=2, network=True) as fleet,
    ):
        report = await run(fleet, Plan(SEED, SECONDS, SHORT, CLIENTS, PATIENCE))
    print(report.line())
    assert report.turns
    assert report.findings == []


async def test_stream_leader_killed() -> None:
    """When the server that leads the events' stream is killed, turns and readers wait for the next, and go on."""
    record = Record()
    async with (
        clustered() as infrastructure,
        running(infrastructure, print, workers=2, gateways=2, network=False) as fleet,
        Client(fleet.urls) as client,
        asyncio.timeout(PATIENCE),
    ):
        load = Load(TurnMaker(client, fleet.tools, record), SEED)
        loading = asyncio.create_task(load.run(CLIENTS))
        while not _streams(record):  # noqa: ASYNC110 - its readers write it down
            await asyncio.sleep(0.05)
        leader, begun = await infrastructure.cluster.leader(EVENTS.name), monotonic()
        await leader.kill()
        await infrastructure.cluster.leader(EVENTS.name)
        record.broken.append(Broken(leader.name, "kill -9", begun, monotonic()))
        load.stop.set()
        await loading
        await look(client, fleet.tools, record)
    assert audit(record) == []


def _streams(record: Record) -> bool:
    """Tell whether clients are in the middle of several turns."""
    readings = [reading for posted in record.turns for reading in posted.readings]
    return sum(not reading.over and len(reading.events) > 10 for reading in readings) > CLIENTS / 3
