"""The bus in memory and the real one, and the store on a real Postgres."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest
from support.infrastructure import ACK_WAIT, Infrastructure, embedded

from turnstream import subjects
from turnstream.bus import Bus
from turnstream.bus.connection import Connection
from turnstream.bus.provision import Depth, provision
from turnstream.database import Database
from turnstream.ids import new_id
from turnstream.memory import MAX_PAYLOAD, MemoryBus
from turnstream.settings import Settings
from turnstream.store import Store
from turnstream.subjects import DEFAULT_TENANT, EVENTS, TURNS

QUICK_ACK_WAIT = 0.2  # seconds; the bus in memory need not take as long as the server


@dataclass(frozen=True)
class Buses:
    """One bus as the gateway and as the worker have it."""

    gateway: Bus
    worker: Bus
    ack_wait: float  # seconds
    max_payload: int  # bytes
    lose_logs: Callable[[], Awaitable[None]]


@pytest.fixture(scope="session")
async def infrastructure() -> AsyncIterator[Infrastructure]:
    """NATS and Postgres for all contract tests."""
    async with embedded() as running:
        yield running


@pytest.fixture(params=["memory", "nats"])
async def buses(request: pytest.FixtureRequest, infrastructure: Infrastructure) -> AsyncIterator[Buses]:
    """Each kind of bus in turn, with nothing in its queue."""
    if request.param == "memory":
        bus = MemoryBus(ack_wait=QUICK_ACK_WAIT)

        async def lose_logs() -> None:
            bus.lose_logs()

        yield Buses(bus, bus, QUICK_ACK_WAIT, MAX_PAYLOAD, lose_logs)
        return
    operator = await Connection(settings(infrastructure, "provision"), "provision").open()
    await operator.client.jetstream().purge_stream(TURNS.name)
    gateway = await Bus.connect(settings(infrastructure, "gateway"), "gateway")
    worker = await Bus.connect(settings(infrastructure, "worker"), "worker")

    async def lose_stream() -> None:
        await operator.client.jetstream().delete_stream(EVENTS.name)
        await infrastructure.provision()

    yield Buses(gateway, worker, ACK_WAIT, operator.client.max_payload, lose_stream)
    for connected in (gateway, worker, operator):
        await connected.close()


@pytest.fixture
async def shallow(buses: Buses, infrastructure: Infrastructure) -> AsyncIterator[Depth]:
    """A queue that is full soon."""
    shallow = Depth(per_subject=3, whole=5)
    if isinstance(buses.gateway, MemoryBus):
        buses.gateway.depth_per_tenant, buses.gateway.depth = shallow.per_subject, shallow.whole
        yield shallow
        return
    operator = settings(infrastructure, "provision")
    await provision(operator, replicas=1, ack_wait=ACK_WAIT, depth=shallow)
    yield shallow
    await provision(operator, replicas=1, ack_wait=ACK_WAIT, depth=Depth(per_subject=1000, whole=20_000))


@pytest.fixture
def gateway_bus(buses: Buses) -> Bus:
    """The bus with the gateway's rights."""
    return buses.gateway


@pytest.fixture
def worker_bus(buses: Buses) -> Bus:
    """The bus with the worker's rights."""
    return buses.worker


@pytest.fixture
def ack_wait(buses: Buses) -> float:
    """Seconds until a silent delivery comes again."""
    return buses.ack_wait


@pytest.fixture
def max_payload(buses: Buses) -> int:
    """Bytes that one message may have."""
    return buses.max_payload


@pytest.fixture
def lose_logs(buses: Buses) -> Callable[[], Awaitable[None]]:
    """Lose all logs, as with a server's disk."""
    return buses.lose_logs


@pytest.fixture
def turn() -> str:
    """A turn that nothing was written about."""
    return new_id("resp_")


@pytest.fixture
def subject(turn: str) -> str:
    """The subject of the turn's log."""
    return subjects.events(DEFAULT_TENANT, turn)


@pytest.fixture
async def database(infrastructure: Infrastructure) -> AsyncIterator[Database]:
    """The real database."""
    database = await Database.connect(settings(infrastructure, "gateway"))
    yield database
    await database.close()


@pytest.fixture
def store(database: Database) -> Store:
    """A store on the real database."""
    return Store(database)


def settings(infrastructure: Infrastructure, service: str) -> Settings:
    """Return settings that give up soon."""
    return Settings(
        nats_url=infrastructure.nats_url(service),
        postgres_dsn=infrastructure.dsn,
        bus_timeout=1,
        bus_patience=5,
        store_timeout=2,
        store_patience=5,
    )
