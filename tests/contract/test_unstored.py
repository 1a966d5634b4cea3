"""Turns that are not to be stored, on a real Postgres: they run, and nothing of them is there when they have ended."""

from typing import Any, cast

import pytest
from support.stored import TENANT, accept, claim, item, run

from turnstream.errors import NotFoundError
from turnstream.ids import new_id
from turnstream.memory import MemoryBus
from turnstream.store import Store
from turnstream.turns import Outcome
from turnstream_gateway.models import Models
from turnstream_gateway.questions import Questions
from turnstream_gateway.settings import GatewaySettings
from turnstream_gateway.turns import Turns


async def test_it_is_not_listed(store: Store) -> None:
    """Lists show stored turns alone, in both directions."""
    tenant = new_id("tenant_")
    for stored in (False, True, False):
        await run(store, "a", tenant=tenant, stored=stored)
    for newest_first in (False, True):
        page: dict[str, Any] = {"after": None, "before": None, "model": None, "limit": 10}
        listed = await store.turns(tenant, newest_first=newest_first, **page)
        assert [turn.stored for turn in listed] == [True]


async def test_it_cannot_be_followed(store: Store) -> None:
    """A turn that is not stored is nobody's past."""
    turn = await run(store, "a", stored=False)
    follower = new_id("resp_")
    assert await store.accept(follower, TENANT, {"model": "m"}, [], conversation=None, previous=turn.id) is None
    assert await store.turn(TENANT, follower) is None


async def test_it_can_follow(store: Store) -> None:
    """A turn that is not stored may follow others, and knows what they said."""
    turn = await accept(store, "b", previous=(await run(store, "a")).id, stored=False)
    assert [one["text"] for one in await store.history(turn, 1000)] == ["a", "re: a"]


async def test_it_cannot_be_referred_to(store: Store) -> None:
    """Its items cannot be referred to, neither while it runs nor later."""
    running = await claim(store, await accept(store, "a", stored=False))
    ids = [running.input[0]["id"]]
    assert await store.referenced(TENANT, ids, None) == {}
    await store.finish(running, Outcome("completed", [item("re: a", running.id)]))
    assert await store.referenced(TENANT, ids, None) == {}


async def test_it_is_forgotten(store: Store) -> None:
    """When it has ended, what it asked and answered is erased, and only how it ended stays; doing so again is fine."""
    request = {"model": "m", "instructions": "a secret", "metadata": {"a": "b"}}
    turn_id = new_id("resp_")
    references: dict[str, Any] = {"conversation": None, "previous": None}
    await store.accept(turn_id, TENANT, request, [item("a secret", turn_id)], stored=False, **references)
    claimed = await store.claim(turn_id, "a", 60)
    assert claimed is not None
    finished, _ = await store.finish(
        claimed, Outcome("completed", [item("a secret", turn_id)], usage={"total_tokens": 3})
    )
    for _ in range(2):
        await store.forget(finished)
        forgotten = await store.turn(TENANT, turn_id)
        assert forgotten is not None
        assert "a secret" not in str(forgotten)
        assert (forgotten.request, forgotten.input, forgotten.output) == ({"model": "m", "store": False}, [], [])
        assert (forgotten.status, forgotten.usage) == ("completed", {"total_tokens": 3})


async def test_its_key_is_still_known(store: Store) -> None:
    """A request that is sent again with its key begins no second turn, also when the first is forgotten."""
    key, fingerprint = new_id("key_"), b"f" * 16
    references: dict[str, Any] = {"conversation": None, "previous": None, "key": key, "fingerprint": fingerprint}
    first = await accept(store, "a", stored=False, **references)
    await store.finish(await claim(store, first), Outcome("completed", []))
    await store.forget(first)
    again = await store.accept(new_id("resp_"), TENANT, {"model": "m"}, [], stored=False, **references)
    assert again is not None
    assert again.turn == first.id


async def test_gateway_shows_it_to_its_own_request_alone(store: Store) -> None:
    """The request that began it gets it; to every other it is not there."""
    settings = GatewaySettings.model_validate({"nats_url": "nats://unused", "postgres_dsn": "postgresql://unused"})
    turns = Turns(MemoryBus(), store, cast("Models", None), cast("Questions", None), settings)
    turn = await run(store, "a", stored=False)
    assert await turns.accepted(TENANT, turn.id) == turn
    for call in (turns.get(TENANT, turn.id), turns.delete(TENANT, turn.id), turns.cancel(TENANT, turn.id)):
        with pytest.raises(NotFoundError):
            await call
