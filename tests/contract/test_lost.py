"""Which turns a dead worker has left, and which are on no queue, as the store knows it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from itertools import chain

import asyncpg
import pytest
from support.infrastructure import Infrastructure
from support.stored import LEASE, TENANT, accept, claim, conversation, finish, run

from turnstream.database import Database
from turnstream.errors import FencedError
from turnstream.ids import new_id
from turnstream.store import Store
from turnstream.turns import Outcome

MANY = 1000


@pytest.fixture(autouse=True)
async def nothing_open(database: Database) -> AsyncIterator[None]:
    """Let no other test's turns be found."""
    await database.run("DELETE FROM open_turns")
    yield
    await database.run("DELETE FROM open_turns")


async def lost(store: Store, *, seconds: float = 0) -> set[str]:
    """Return the turns that are to be queued again."""
    return {one.turn for one in await store.lost(seconds, MANY)}


async def test_take_over(store: Store) -> None:
    """All that dead workers hold is free at once, finished or not, and nothing that others hold; it comes but once."""
    dead, other = new_id("worker_"), new_id("worker_")
    running, finished, others = [await accept(store) for _ in range(3)]
    claimed = await claim(store, finished, f"{dead}/1.2.3")
    await store.finish(claimed, Outcome("completed", []))
    await claim(store, running, f"{dead}/4.5.6")
    await claim(store, others, f"{other}/7.8.9")
    assert sorted(await store.owners()) == sorted([dead, other])
    assert await store.take_over([dead], MANY) == ["4.5.6", "1.2.3"]  # what runs comes first
    assert await store.take_over([dead], MANY) == []
    assert await store.owners() == [other]
    assert (await claim(store, running, "x")).beginnings == 2
    assert (await claim(store, finished, "x")).output == []
    assert await store.claim(others.id, "x", LEASE) is None


async def test_take_over_in_parts(store: Store) -> None:
    """Of much that a dead worker has left, no more is taken at a time than was asked for, and nothing twice."""
    dead = new_id("worker_")
    for number in range(7):
        await claim(store, await accept(store), f"{dead}/{number}")
    parts = [await store.take_over([dead], 3) for _ in range(4)]
    assert [len(part) for part in parts] == [3, 3, 1, 0]
    assert sorted(chain(*parts)) == [str(number) for number in range(7)]


async def test_taken_over_by_two_at_once(store: Store) -> None:
    """When several workers take over at the same time, each turn is one's only."""
    dead = new_id("worker_")
    for number in range(50):
        await claim(store, await accept(store), f"{dead}/{number}")
    taken = await asyncio.gather(*(store.take_over([dead], MANY) for _ in range(4)))
    assert sorted(chain(*taken)) == sorted(str(number) for number in range(50))


async def test_dead_owner_is_refused(store: Store) -> None:
    """A worker that was taken for dead loses its turn, even if nobody has claimed it yet."""
    dead = new_id("worker_")
    turn = await claim(store, await accept(store), f"{dead}/1")
    await store.take_over([dead], MANY)
    assert await store.renew({f"{dead}/1": turn.id}, LEASE, patience=5) == {}
    with pytest.raises(FencedError):
        await store.excuse(turn, f"{dead}/1", excused=True)


async def test_never_claimed(store: Store) -> None:
    """A turn that nobody has claimed is lost after its time, not before, and then counts as queued."""
    turn = await accept(store)
    assert await lost(store, seconds=LEASE) == set()
    [found] = await store.lost(0, MANY)
    assert (found.tenant, found.turn) == (TENANT, turn.id)
    assert await lost(store, seconds=LEASE) == set()
    [again] = await store.lost(0, MANY)
    assert again.message_id != found.message_id


async def test_lease_over(store: Store) -> None:
    """A turn whose lease is over is lost at once, however recently it was queued; one that is held is not."""
    over, held = await accept(store), await accept(store)
    await claim(store, over, "a/1", lease=0)
    await claim(store, held, "a/2")
    assert await lost(store, seconds=LEASE) == {over.id}
    assert (await claim(store, over, "b/1")).attempt == 2


async def test_ended_is_not_lost(store: Store) -> None:
    """A turn that is closed is not lost; one that is finished, and whose last event may be missing, is."""
    await run(store)
    finished = await claim(store, await accept(store), lease=0)
    await store.finish(finished, Outcome("completed", []))
    assert await lost(store) == {finished.id}


async def test_waiting_is_not_lost(store: Store) -> None:
    """Of a conversation's turns only the first can be lost, and those that are cancelled; all can if it is deleted."""
    of = await conversation(store)
    first, second, third = [await accept(store, conversation=of) for _ in range(3)]
    assert await lost(store) == {first.id}
    await store.cancel(TENANT, third.id)
    assert await lost(store) == {first.id, third.id}
    await finish(store, await claim(store, first))
    assert await lost(store) == {second.id, third.id}
    later = await accept(store, conversation=of)
    await store.delete_conversation(TENANT, of)
    assert await lost(store) == {second.id, third.id, later.id}


async def test_found_by_two_at_once(store: Store, database: Database) -> None:
    """When several workers look at the same time, each turn is found by one only."""
    turns = {(await accept(store)).id for _ in range(50)}
    await database.run("UPDATE open_turns SET queued_at = now() - interval '1 hour'")
    parts = await asyncio.gather(*(store.lost(LEASE, 20) for _ in range(4)))
    found = [one.turn for one in chain(*parts)]
    assert len(found) == len(set(found))
    assert set(found) <= turns
    assert found


async def test_excused(store: Store) -> None:
    """An attempt that is excused does not count when its worker dies, nor does a handover; any other counts."""
    dead = new_id("worker_")
    turn = await claim(store, await accept(store), f"{dead}/1")
    await store.excuse(turn, f"{dead}/1", excused=True)
    await store.take_over([dead], MANY)
    turn = await claim(store, turn, f"{dead}/2")
    assert (turn.attempt, turn.beginnings) == (2, 1)
    for excused in (True, False):
        await store.excuse(turn, f"{dead}/2", excused=excused)
    await store.take_over([dead], MANY)
    turn = await claim(store, turn, "b/1")
    assert (turn.attempt, turn.beginnings) == (3, 2)
    await store.excuse(turn, "b/1", excused=True)
    await store.release(turn, "b/1")
    assert (await claim(store, turn, "c/1")).beginnings == 2


async def test_deleted_turn_is_nowhere(store: Store, database: Database) -> None:
    """A turn that is deleted before it was closed leaves nothing to be found."""
    turn = await claim(store, await accept(store), lease=0)
    await store.finish(turn, Outcome("completed", []))
    assert await store.delete_turn(TENANT, turn.id)
    assert await lost(store) == set()
    assert await database.run("SELECT FROM open_turns WHERE turn = $1", turn.id) == []


@pytest.mark.parametrize("what", ["taken over", "lost", "overdue"])
async def test_one_worker_at_a_time(store: Store, infrastructure: Infrastructure, what: str) -> None:
    """While a worker's statement looks for turns, those of others find nothing, and wait for nothing."""
    dead = new_id("worker_")
    await claim(store, await accept(store), f"{dead}/1")
    await accept(store)
    looks: dict[str, tuple[Callable[[], Awaitable[Sequence[object]]], int]] = {
        "taken over": (partial(store.take_over, [dead], MANY), 1),
        "lost": (partial(store.lost, 0, MANY), 2),
        "overdue": (partial(store.overdue, 0, MANY), 3),
    }
    look, lock = looks[what]
    another = await asyncpg.connect(infrastructure.dsn)
    try:
        async with another.transaction():
            await another.execute("SELECT pg_advisory_xact_lock(8321, $1)", lock)
            assert await look() == []
        assert len(await look()) == 1
    finally:
        await another.close()
