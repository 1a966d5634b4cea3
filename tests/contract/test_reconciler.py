"""What the reconciler does with turns that are not as they should be, on a real store and on both kinds of bus."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from support.stored import TENANT, accept, claim

from turnstream.bus import Bus, WorkQueue
from turnstream.database import Database
from turnstream.ids import new_id
from turnstream.store import Store
from turnstream.subjects import INTERACTIVE
from turnstream_worker.beats import Beats
from turnstream_worker.reconciler import Reconciler
from turnstream_worker.settings import WorkerSettings

SOON = 10  # seconds
DEAD_AFTER = 10.0  # seconds of a clock that the tests move
QUICKLY = WorkerSettings(nats_url="nats://n", postgres_dsn="postgresql://p", beat=0.02, sweep=0.02, lost_after=0.02)

type Leading = Callable[..., AbstractAsyncContextManager[None]]


@pytest.fixture(autouse=True)
async def nothing_open(database: Database) -> AsyncIterator[None]:
    """Let no other test's turns be found."""
    await database.run("DELETE FROM open_turns")
    yield
    await database.run("DELETE FROM open_turns")


@pytest.fixture
async def queue(worker_bus: Bus) -> AsyncIterator[WorkQueue]:
    """A worker's queue with room for all that is queued here."""
    async with worker_bus.work(INTERACTIVE, 100) as opened:
        yield opened


@pytest.fixture
def leading(worker_bus: Bus, store: Store) -> Leading:
    """Let a reconciler look after the turns, which has heard that some workers died; it must not end."""

    @asynccontextmanager
    async def leading(*dead: str) -> AsyncIterator[None]:
        now = 0.0
        beats = Beats("worker_", DEAD_AFTER, lambda: now)
        beats.notice(dead)
        for now in (0.0, 4.0, 8.0, 12.0):  # noqa: B007 - the clock reads it
            beats.hear("worker_")
        reconciling = asyncio.create_task(Reconciler(worker_bus, store, beats, QUICKLY, list[str]().append).run())
        yield
        assert not reconciling.done()
        reconciling.cancel()

    return leading


async def delivered(queue: WorkQueue, *turns: str) -> None:
    """Wait until all of these turns have come."""
    missing = set(turns)
    async with asyncio.timeout(SOON):
        while missing:
            delivery = await queue.next()
            missing.discard(delivery.data.decode())
            await delivery.ack()
            queue.release()


async def test_owner_that_names_no_message(store: Store, worker_bus: Bus, queue: WorkQueue, leading: Leading) -> None:
    """A dead worker's turn whose owner does not say how to give its message back is queued anew, and no other waits."""
    dead = new_id("worker_")
    turns = [await accept(store) for _ in range(3)]
    await worker_bus.enqueue(TENANT, turns[0].id, turns[0].id, patience=SOON)
    receipt = (await queue.next()).receipt
    for turn, owner in zip(turns, (f"{dead}/{receipt}", f"{dead}/", dead), strict=True):
        await claim(store, turn, owner)
    async with leading(dead):
        await delivered(queue, *(turn.id for turn in turns))


async def test_turn_that_cannot_be_queued(
    store: Store, worker_bus: Bus, queue: WorkQueue, leading: Leading, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lost turn whose queueing fails in an unforeseen way keeps no other from being queued."""
    turns = [await accept(store) for _ in range(3)]
    enqueue = worker_bus.enqueue

    async def broken(tenant: str, turn: str, message_id: str, *, patience: float) -> None:
        if turn == turns[0].id:
            raise ZeroDivisionError
        await enqueue(tenant, turn, message_id, patience=patience)

    monkeypatch.setattr(worker_bus, "enqueue", broken)
    async with leading():
        await delivered(queue, *(turn.id for turn in turns[1:]))
