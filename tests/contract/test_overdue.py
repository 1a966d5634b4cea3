"""Turns whose time is over before they run, on a real Postgres: they are found, once, and can be ended at once."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from support.stored import LEASE, TENANT, accept, claim, conversation, item, texts

from turnstream.database import Database
from turnstream.ids import new_id
from turnstream.store import Store
from turnstream.turns import Outcome, Turn

MANY = 1000
LONG = 3600  # seconds; more than any test takes
OVER = Outcome("incomplete", [], incomplete={"reason": "deadline"})


@pytest.fixture(autouse=True)
async def nothing_open(database: Database) -> AsyncIterator[None]:
    """Let no other test's turns be found."""
    await database.run("DELETE FROM open_turns")
    yield
    await database.run("DELETE FROM open_turns")


async def limited(store: Store, deadline: float, of: str | None = None) -> Turn:
    """Accept a turn with a deadline."""
    turn, request = new_id("resp_"), {"model": "m", "deadline": deadline}
    await store.accept(turn, TENANT, request, [item("asked", turn)], conversation=of, previous=None)
    accepted = await store.turn(TENANT, turn)
    assert accepted
    return accepted


async def test_found_once(store: Store) -> None:
    """A turn is overdue by its own deadline, or by that of all; it is found once, and not while somebody runs it."""
    over, other, held = await limited(store, 0), await accept(store), await limited(store, 0)
    await limited(store, LONG)
    await claim(store, held)
    assert await store.overdue(LONG, MANY) == [over.id]
    assert await store.overdue(0, MANY) == [other.id]
    assert await store.overdue(0, MANY) == []
    assert {one.turn for one in await store.lost(LEASE, MANY)} == set()
    assert {over.id, other.id} <= {one.turn for one in await store.lost(0, MANY)}


@pytest.mark.parametrize("own", [True, False])
async def test_overdue_in_the_line(store: Store, own: bool) -> None:
    """A turn whose time is over while it waits is ended before those ahead; it leaves nothing, and they keep order."""
    of = await conversation(store)
    running = await claim(store, await accept(store, "a", conversation=of))
    waiting = await limited(store, 0, of) if own else await accept(store, "b", conversation=of)
    last = await limited(store, LONG, of)
    if not own:
        assert await store.claim(waiting.id, "x", LEASE) is None
    assert await store.overdue(0, MANY) == [waiting.id]
    ended, _ = await store.finish(await claim(store, waiting), OVER)
    assert ended.incomplete == {"reason": "deadline"}
    assert await store.claim(last.id, "x", LEASE) is None
    assert await texts(store, of) == []
    assert (await store.finish(running, Outcome("completed", [item("re: a", running.id)])))[1] == last.id
    assert await texts(store, of) == ["a", "re: a"]


async def test_overdue_at_its_head(store: Store) -> None:
    """A turn whose time is over and that waits for none leaves its question in its conversation, as one that ran."""
    of = await conversation(store)
    turn = await limited(store, 0, of)
    await store.finish(await claim(store, turn), OVER)
    assert await texts(store, of) == ["asked"]


async def test_found_by_two_at_once(store: Store) -> None:
    """When several workers look at the same time, each turn is found by one only."""
    turns = [(await limited(store, 0)).id for _ in range(50)]
    parts = await asyncio.gather(*(store.overdue(LONG, MANY) for _ in range(4)))
    assert sorted(found for part in parts for found in part) == sorted(turns)
