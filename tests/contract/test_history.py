"""What came before a turn, on a real Postgres: its conversation or the turns that it follows, as far as it may read."""

from dataclasses import replace

import orjson
import pytest
from support.stored import OTHER, PLENTY, TENANT, accept, claim, conversation, history, item, run, texts

from turnstream import store as store_module
from turnstream.errors import ConversationGoneError, HistoryTooLongError, PreviousGoneError
from turnstream.store import Store
from turnstream.turns import Item, Outcome, Turn


def size(*stored: object) -> int:
    """Return how many bytes these take as JSON."""
    return sum(len(orjson.dumps(one)) for one in stored)


async def fits(store: Store, turn: Turn, limit: int) -> bool:
    """Tell whether what came before a turn may be read within a limit."""
    try:
        await store.history(turn, limit)
    except HistoryTooLongError:
        return False
    return True


async def test_conversation_grows_in_order(store: Store) -> None:
    """Finished turns extend their conversation once each: input before output, turn after turn."""
    of = await conversation(store)
    await run(store, "a", "b", conversation=of)
    await run(store, "c", conversation=of, status="incomplete")
    assert await texts(store, of) == ["a", "b", "re: a", "re: b", "c", "re: c"]


async def test_failed_turn_leaves_no_items(store: Store) -> None:
    """A turn that failed does not extend its conversation."""
    of = await conversation(store)
    await run(store, "a", conversation=of, status="failed")
    assert await texts(store, of) == []


async def test_history_of_a_conversation(store: Store) -> None:
    """A turn's history is what its conversation held before it, also when the turn itself has extended it."""
    of = await conversation(store)
    first, second = await run(store, "a", conversation=of), await run(store, "b", conversation=of)
    third = await accept(store, "c", conversation=of)
    assert await history(store, first) == []
    assert await history(store, second) == ["a", "re: a"]
    assert await history(store, third) == ["a", "re: a", "b", "re: b"]


async def test_history_of_a_deleted_conversation(store: Store) -> None:
    """A turn whose conversation was deleted has no history, which is not an empty one."""
    of = await conversation(store)
    turn = await claim(store, await accept(store, "a", conversation=of))
    await store.delete_conversation(TENANT, of)
    with pytest.raises(ConversationGoneError):
        await store.history(turn, PLENTY)
    finished, _ = await store.finish(turn, Outcome("failed", []))
    assert finished.status == "failed"


async def test_history_of_a_chain(store: Store) -> None:
    """A turn that follows others has their inputs and outputs as its history, oldest first, and no sibling's."""
    first = await run(store, "a")
    second = await run(store, "b", previous=first.id)
    await run(store, "sibling", previous=first.id)
    third = await accept(store, "c", previous=second.id)
    assert await history(store, first) == []
    assert await history(store, third) == ["a", "re: a", "b", "re: b"]


async def test_chain_that_begins_in_a_conversation(store: Store) -> None:
    """A chain that begins in a conversation has what that held before the chain's first turn, and nothing later."""
    of = await conversation(store)
    await run(store, "a", conversation=of)
    first = await run(store, "b", conversation=of)
    await run(store, "later", conversation=of)
    second = await run(store, "c", previous=first.id)
    third = await accept(store, "d", previous=second.id)
    assert await history(store, third) == ["a", "re: a", "b", "re: b", "c", "re: c"]


async def test_size_of_a_conversation_is_bounded(store: Store) -> None:
    """A conversation of more bytes than a turn may read is said to be too long, to the byte."""
    of = await conversation(store)
    first = await run(store, "é" * 100, "b", conversation=of)
    later = await accept(store, "c", conversation=of)
    held: list[Item] = [*first.input, *(first.output or [])]
    assert await fits(store, later, size(*held))
    assert not await fits(store, later, size(*held) - 1)


async def test_only_what_comes_before_counts(store: Store) -> None:
    """A turn may read what came before it, however much its conversation has grown since."""
    of = await conversation(store)
    first = await run(store, "a", conversation=of)
    await run(store, "x" * 1000, conversation=of)
    assert await fits(store, first, 0)


async def test_size_of_a_chain_is_bounded(store: Store) -> None:
    """Turns of more bytes than a turn may read are said to be too long together, to the byte."""
    first = await run(store, "é" * 100)
    second = await run(store, "b", "c", previous=first.id)
    third = await accept(store, "d", previous=second.id)
    held = size(first.input, first.output, second.input, second.output)
    assert await fits(store, third, held)
    assert not await fits(store, third, held - 1)


async def test_length_of_a_chain_is_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn may follow so many others and no more, however small they are."""
    monkeypatch.setattr(store_module, "CHAIN_LIMIT", 3)
    last = await run(store, "0")
    for number in range(1, 4):
        assert await fits(store, await accept(store, previous=last.id), PLENTY)
        last = await run(store, str(number), previous=last.id)
    assert not await fits(store, await accept(store, previous=last.id), PLENTY)


async def test_conversation_in_which_a_chain_begins_is_bounded(store: Store) -> None:
    """What a chain's conversation held before it is bounded as well."""
    of = await conversation(store)
    before = await run(store, "x" * 1000, conversation=of)
    first = await run(store, "a", conversation=of)
    second = await accept(store, "b", previous=first.id)
    held: list[Item] = [*before.input, *(before.output or [])]
    assert await fits(store, second, size(*held))
    assert not await fits(store, second, size(*held) - 1)


async def test_items_that_a_client_put_there(store: Store) -> None:
    """What a client has put into a conversation itself is part of the history."""
    of = await conversation(store)
    await store.add_items(TENANT, of, [item("first", of), item("second", of)])
    assert await history(store, await accept(store, "a", conversation=of)) == ["first", "second"]


async def test_empty_conversation(store: Store) -> None:
    """A conversation that holds nothing is an empty history; another tenant's is none."""
    of = await conversation(store)
    turn = await accept(store, "a", conversation=of)
    assert await history(store, turn) == []
    with pytest.raises(ConversationGoneError):
        await store.history(replace(turn, tenant=OTHER), PLENTY)


async def test_chain_that_begins_in_a_deleted_conversation(store: Store) -> None:
    """A turn that follows one whose conversation was deleted has no history, which is not a shorter one."""
    of = await conversation(store)
    await run(store, "a", conversation=of)
    first = await run(store, "b", conversation=of)
    second = await run(store, "c", previous=first.id)
    third = await accept(store, "d", previous=second.id)
    await store.delete_conversation(TENANT, of)
    with pytest.raises(ConversationGoneError):
        await store.history(third, PLENTY)


@pytest.mark.parametrize("status", ["failed", "cancelled"])
async def test_chain_that_begins_with_a_turn_that_left_nothing(store: Store, status: str) -> None:
    """A chain that begins with a turn which left nothing in its conversation sees nothing that came there later."""
    of = await conversation(store)
    await run(store, "a", conversation=of)
    ended = await run(store, "b", conversation=of, status=status)
    await run(store, "later", conversation=of)
    second = await accept(store, "c", previous=ended.id)
    assert await history(store, second) == ["a", "re: a", "b", "re: b"]


async def test_chain_that_begins_with_a_turn_whose_items_were_deleted(store: Store) -> None:
    """A turn stood where it stood, also when its conversation has its items no more."""
    of = await conversation(store)
    await run(store, "a", conversation=of)
    first = await run(store, "b", conversation=of)
    for one in (*first.input, *(first.output or [])):
        await store.delete_item(TENANT, of, one["id"])
    await run(store, "later", conversation=of)
    assert await history(store, await accept(store, "c", previous=first.id)) == ["a", "re: a", "b", "re: b"]


async def test_chain_that_begins_with_the_first_turn(store: Store) -> None:
    """A turn that failed as the first one of its conversation is followed with itself alone."""
    of = await conversation(store)
    failed = await run(store, "a", conversation=of, status="failed")
    await run(store, "later", conversation=of)
    assert await history(store, await accept(store, "c", previous=failed.id)) == ["a", "re: a"]


@pytest.mark.parametrize("deleted", [0, 1, 2])
async def test_chain_with_a_deleted_turn(store: Store, deleted: int) -> None:
    """A turn that follows one which was deleted, also through others, has no history, not even the rest of it."""
    turns: list[Turn] = []
    for text in ("a", "b", "c"):
        turns.append(await run(store, text, previous=turns[-1].id if turns else None))
    last = await accept(store, "d", previous=turns[-1].id)
    assert await store.delete_turn(TENANT, turns[deleted].id)
    with pytest.raises(PreviousGoneError):
        await store.history(last, PLENTY)
