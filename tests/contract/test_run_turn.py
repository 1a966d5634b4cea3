"""How a turn is brought to its end, on a real store."""

from typing import cast

from support.stored import TENANT, accept

from turnstream.memory import MemoryBus
from turnstream.store import Store
from turnstream.subjects import INTERACTIVE
from turnstream_worker.engine import Engine
from turnstream_worker.run_turn import Running, TurnRunner
from turnstream_worker.settings import WorkerSettings

GONE = -1  # seconds: a lease that is over
SETTINGS = WorkerSettings(nats_url="nats://n", postgres_dsn="postgresql://p")


async def test_cancelled_when_all_attempts_have_died(store: Store) -> None:
    """A turn whose client cancelled it has ended as cancelled, without an error, and there is nothing to run again."""
    bus, turn = MemoryBus(), await accept(store, "a")
    for attempt in range(SETTINGS.max_attempts):
        assert await store.claim(turn.id, f"dead_{attempt}/x", GONE)
    assert await store.cancel(TENANT, turn.id)
    await bus.enqueue(TENANT, turn.id, "again", patience=1)
    async with bus.work(INTERACTIVE, 1) as queue:
        delivery = await queue.next()
        await TurnRunner(bus, store, cast("Engine", None), SETTINGS).run(Running(delivery, turn.id, "worker_1/y"))
    ended = await store.turn(TENANT, turn.id)
    assert ended is not None
    assert (ended.status, ended.error) == ("cancelled", None)
    assert await bus.dead_letters.get(turn.id) is None
