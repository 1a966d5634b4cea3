"""Items that are referred to by their ids, on a real Postgres: found wherever they are stored, and by nobody else."""

import pytest
from support.stored import OTHER, TENANT, accept, claim, conversation, item, run

from turnstream.ids import item_id, new_id
from turnstream.store import Store
from turnstream.turns import Item, Outcome, Turn


async def found(store: Store, *items: Item, tenant: str = TENANT, conversation: str | None = None) -> list[str]:
    """Return the texts of those of these items that a tenant can refer to."""
    by_id = await store.referenced(tenant, [one["id"] for one in items], conversation)
    assert {one["id"]: one for one in items}.items() >= by_id.items()
    return [by_id[one["id"]]["text"] for one in items if one["id"] in by_id]


def items_of(turn: Turn) -> list[Item]:
    """Return what a turn holds."""
    return [*turn.input, *(turn.output or [])]


async def test_item_of_a_turn(store: Store) -> None:
    """What a turn asked and answered can be referred to, one item or all of them, and nothing else comes along."""
    turn = await run(store, "a", "b")
    assert await found(store, *items_of(turn)) == ["a", "b", "re: a", "re: b"]
    assert await found(store, items_of(turn)[2]) == ["re: a"]


@pytest.mark.parametrize("status", ["failed", "incomplete"])
async def test_item_of_a_turn_that_failed(store: Store, status: str) -> None:
    """However a turn has ended, what it put out can be referred to."""
    assert await found(store, *items_of(await run(store, "a", status=status))) == ["a", "re: a"]


async def test_item_of_a_turn_that_runs(store: Store) -> None:
    """What a turn asks can be referred to while it runs."""
    turn = await claim(store, await accept(store, "a"))
    assert await found(store, *turn.input) == ["a"]


async def test_item_of_a_conversation(store: Store) -> None:
    """What a client has put into a conversation can be referred to, from anywhere."""
    of = new_id("conv_")
    first, second = item("first", of), item("second", of)
    await store.create_conversation(of, TENANT, {}, [first])
    await store.add_items(TENANT, of, [second])
    assert await found(store, first, second) == ["first", "second"]


async def test_items_of_several_owners(store: Store) -> None:
    """One input may refer to items of many turns and conversations."""
    of = new_id("conv_")
    put = item("put", of)
    await store.create_conversation(of, TENANT, {}, [put])
    first, second = await run(store, "a"), await run(store, "b")
    assert await found(store, second.input[0], put, first.input[0]) == ["b", "put", "a"]


async def test_item_whose_turn_was_deleted(store: Store) -> None:
    """What a deleted turn has left in its conversation can be referred to there, and nowhere else."""
    of = await conversation(store)
    turn = await run(store, "a", conversation=of)
    await store.delete_turn(TENANT, turn.id)
    assert await found(store, *items_of(turn)) == []
    assert await found(store, *items_of(turn), conversation=of) == ["a", "re: a"]
    assert await found(store, *items_of(turn), conversation=await conversation(store)) == []


async def test_item_of_another_tenant(store: Store) -> None:
    """Another tenant's items cannot be referred to, neither a turn's nor a conversation's, nor by naming that."""
    of = new_id("conv_")
    put = item("put", of)
    await store.create_conversation(of, OTHER, {}, [put])
    turn = new_id("resp_")
    await store.accept(turn, OTHER, {"model": "m"}, [item("a", turn)], conversation=of, previous=None)
    claimed = await store.claim(turn, "a", 60)
    assert claimed is not None
    finished, _ = await store.finish(claimed, Outcome("completed", [item("re: a", turn)]))
    everything = [put, *items_of(finished)]
    for named in (None, of):
        assert await found(store, *everything, conversation=named) == []
    assert await found(store, *everything, tenant=OTHER) == ["put", "a", "re: a"]


async def test_forged_id(store: Store) -> None:
    """An id that names an owner and none of its items finds nothing of that owner's."""
    turn = await run(store, "a")
    assert await found(store, {"id": item_id("msg_", turn.id)}) == []


@pytest.mark.parametrize("id_", ["msg_none", "msg", "_", "-", "msg_" + "0" * 32])
async def test_what_names_nothing(store: Store, id_: str) -> None:
    """An id that is nobody's finds nothing."""
    assert await found(store, {"id": id_}) == []
