"""Workers that reach NATS, and Postgres not always: one that cannot look after the turns leaves it to another."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import product

import pytest
from support.stored import LEASE, TENANT, accept, claim

from turnstream.database import Database, Row
from turnstream.errors import StoreUnavailableError
from turnstream.memory import MemoryBus
from turnstream.store import Store
from turnstream.subjects import INTERACTIVE
from turnstream.turns import Turn
from turnstream_worker.beats import Beats
from turnstream_worker.reconciler import Reconciler
from turnstream_worker.settings import WorkerSettings

FIRST, SECOND, DEAD = "worker_1", "worker_2", "worker_0"
SOON = 10  # seconds; a hundred times what a worker's death takes here
QUICKLY = {"beat": 0.02, "heartbeat": 1, "dead_after": 0.1, "sweep": 0.04, "lost_after": 0.02}
SETTINGS = WorkerSettings.model_validate({"nats_url": "nats://n", "postgres_dsn": "postgresql://p", **QUICKLY})


class Reached(Store):
    """A worker's store, which can be out of its reach."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.away = False
        self.asked = 0  # times that it was, in vain

    async def _run(self, name: str, *values: object, patience: float | None = None) -> Sequence[Row]:
        if self.away:
            self.asked += 1
            raise StoreUnavailableError(f"no answer to {name}")
        return await super()._run(name, *values, patience=patience)


class Fleet:
    """Two workers that look after turns, as far as each reaches its store."""

    def __init__(self, database: Database) -> None:
        self.bus = MemoryBus()
        self.stores = {name: Reached(database) for name in (FIRST, SECOND)}
        self.heard = {name: Beats(name, SETTINGS.dead_after) for name in self.stores}
        self.reconcilers = {
            name: Reconciler(self.bus, store, self.heard[name], SETTINGS, list[str]().append)
            for name, store in self.stores.items()
        }

    async def beat(self) -> None:
        """Let both hear both."""
        while True:
            for beats, name in product(self.heard.values(), self.reconcilers):
                beats.hear(name, blind=self.reconcilers[name].blind)
            await asyncio.sleep(SETTINGS.beat)

    def leaders(self) -> list[str]:
        """Return who leads."""
        return [name for name, beats in self.heard.items() if beats.leads]


@pytest.fixture
async def fleet(database: Database) -> AsyncIterator[Fleet]:
    """Both run; their reconcilers must not end. No other test's turns are found."""
    await database.run("DELETE FROM open_turns")
    fleet = Fleet(database)
    beating = asyncio.create_task(fleet.beat())
    reconciling = [asyncio.create_task(reconciler.run()) for reconciler in fleet.reconcilers.values()]
    await until(lambda: fleet.leaders() == [FIRST])
    yield fleet
    assert not any(task.done() for task in reconciling)
    for task in (beating, *reconciling):
        task.cancel()
    await database.run("DELETE FROM open_turns")


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(SOON):
        while not condition():  # noqa: ASYNC110 - what is looked at signals nothing
            await asyncio.sleep(SETTINGS.beat)


async def left_by_a_dead_worker(fleet: Fleet, store: Store) -> Turn:
    """Return a turn that a worker holds which has died."""
    turn = await accept(store, "a")
    await fleet.bus.enqueue(TENANT, turn.id, turn.id, patience=SOON)
    async with fleet.bus.work(INTERACTIVE, 1) as queue:
        receipt = (await queue.next()).receipt
    await claim(store, turn, f"{DEAD}/{receipt}")
    for beats in fleet.heard.values():
        beats.hear(DEAD)  # and never again
    return turn


async def claimed_by_another(store: Store, turn: Turn) -> None:
    """Wait until a turn is free, and claim it."""
    async with asyncio.timeout(SOON):
        while await store.claim(turn.id, "another/1", LEASE) is None:  # noqa: ASYNC110 - the store signals nothing
            await asyncio.sleep(SETTINGS.beat)


async def test_another_takes_over(fleet: Fleet, store: Store) -> None:
    """A dead worker's turn is taken over although the worker that comes first cannot do so."""
    fleet.stores[FIRST].away = True
    await claimed_by_another(store, await left_by_a_dead_worker(fleet, store))
    assert fleet.leaders() == [SECOND]


async def test_first_leads_again(fleet: Fleet) -> None:
    """The worker that comes first leads again once it reaches the store, and not before."""
    store = fleet.stores[FIRST]
    store.away = True
    await until(lambda: fleet.leaders() == [SECOND])
    tried = store.asked
    await until(lambda: store.asked > tried)
    assert fleet.leaders() == [SECOND]
    store.away = False
    await until(lambda: fleet.leaders() == [FIRST])


async def test_store_away_for_all(fleet: Fleet, store: Store) -> None:
    """While nobody reaches the store nobody leads; when it is back, what was lost meanwhile is found."""
    for one in fleet.stores.values():
        one.away = True
    await until(lambda: not fleet.leaders())
    turn = await left_by_a_dead_worker(fleet, store)
    for one in fleet.stores.values():
        one.away = False
    await claimed_by_another(store, turn)


async def test_leases_that_ran_out_meanwhile(fleet: Fleet, store: Store) -> None:
    """Leases that nobody could prolong while the store was away say nothing: who lives has the time to do so first."""
    for one in fleet.stores.values():
        one.away = True
    await until(lambda: not fleet.leaders())
    held = await claim(store, await accept(store), f"{SECOND}/1", lease=0)
    dead = await left_by_a_dead_worker(fleet, store)
    for one in fleet.stores.values():
        one.away = False
    await claimed_by_another(store, dead)  # so they do look after the turns by now
    assert await store.renew({f"{SECOND}/1": held.id}, LEASE, patience=SOON) == {f"{SECOND}/1": False}
