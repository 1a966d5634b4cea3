"""The turns of a conversation run one at a time, in the order in which they were accepted."""

import asyncio
from typing import Any

import pytest
from support.stored import LEASE, OTHER, TENANT, accept, claim, conversation, finish, history, item, texts

from turnstream.database import Database
from turnstream.errors import BusyError, UnavailableError
from turnstream.ids import new_id
from turnstream.memory import MemoryBus
from turnstream.secrets import Secrets
from turnstream.store import Store
from turnstream.subjects import INTERACTIVE
from turnstream.turns import Outcome
from turnstream_gateway.models import Models
from turnstream_gateway.prompts import Prompts
from turnstream_gateway.questions import Questions
from turnstream_gateway.settings import GatewaySettings
from turnstream_gateway.turns import Turns

SOON = 5  # seconds


async def test_one_at_a_time(store: Store) -> None:
    """Only the first of a conversation's turns can be claimed; its end names the next, which reads what it said."""
    of = await conversation(store)
    turns = [await accept(store, text, conversation=of) for text in ("a", "b", "c")]
    for turn, following in zip(turns, [*turns[1:], None], strict=True):
        assert not any([await store.claim(later.id, "x", LEASE) for later in turns[turns.index(turn) + 1 :]])
        running = await claim(store, turn)
        _, released = await store.finish(running, Outcome("completed", [item(f"re: {turn.input[0]['text']}", turn.id)]))
        assert released == (following.id if following else None)
        if following:
            assert (await history(store, following))[-1] == f"re: {turn.input[0]['text']}"
    assert await texts(store, of) == ["a", "re: a", "b", "re: b", "c", "re: c"]


async def test_accepted_together(store: Store) -> None:
    """Of turns that are accepted at once, exactly one is told to go ahead, and each end releases exactly one more."""
    of = await conversation(store)
    ids = [new_id("resp_") for _ in range(10)]
    accepted = await asyncio.gather(
        *(store.accept(turn, TENANT, {"model": "m"}, [], conversation=of, previous=None) for turn in ids)
    )
    [following] = [one.turn for one in accepted if one and not one.ahead]
    order: list[str] = []
    while following:
        order.append(following)
        claimed = await store.claim(following, "a", LEASE)
        assert claimed
        _, released = await store.finish(claimed, Outcome("completed", []))
        following = released or ""
    assert sorted(order) == sorted(ids)
    assert {one.turn: list(one.ahead) for one in accepted if one} == {
        turn: order[:place] for place, turn in enumerate(order)
    }


async def test_ends_and_arrivals_at_once(store: Store) -> None:
    """A turn that is accepted while the one before it ends is either released by that end or told to go ahead."""
    of = await conversation(store)
    running = await claim(store, await accept(store, conversation=of))
    for _ in range(20):
        turn = new_id("resp_")
        (_, released), accepted = await asyncio.gather(
            store.finish(running, Outcome("completed", [])),
            store.accept(turn, TENANT, {"model": "m"}, [], conversation=of, previous=None),
        )
        assert accepted
        assert (released == turn) != (not accepted.ahead)
        claimed = await store.claim(turn, "a", LEASE)
        assert claimed
        running = claimed


async def test_full_line(store: Store) -> None:
    """A turn that would have to wait for more turns than it may is refused, and nothing of it is stored."""
    of, turn = await conversation(store), new_id("resp_")
    waiting = [await accept(store, conversation=of) for _ in range(2)]
    refers_to: dict[str, Any] = {"conversation": of, "previous": None}
    with pytest.raises(BusyError):
        await store.accept(turn, TENANT, {"model": "m"}, [], line_limit=1, **refers_to)
    assert await store.turn(TENANT, turn) is None
    await finish(store, await claim(store, waiting[0]))
    assert await store.accept(turn, TENANT, {"model": "m"}, [], line_limit=1, **refers_to)
    assert await store.accept(turn, OTHER, {"model": "m"}, [], line_limit=1, **refers_to) is None


async def test_withdrawn_from_the_line(store: Store) -> None:
    """A turn that is taken back leaves the line, and the next one is named, as long as there is one."""
    of = await conversation(store)
    first, second = await accept(store, conversation=of), await accept(store, conversation=of)
    assert await store.withdraw(first.id) == (True, second.id)
    assert await store.withdraw(first.id) == (False, None)
    assert await store.withdraw(second.id) == (True, None)
    assert await store.withdraw((await accept(store)).id) == (True, None)


async def test_refused_before_another(store: Store, database: Database) -> None:
    """When a turn is refused because it cannot be queued, one that has come behind it meanwhile is queued at once."""
    bus, of = MemoryBus(), await conversation(store)
    settings = GatewaySettings(nats_url="nats://nobody", postgres_dsn="postgresql://nobody")
    questions = Questions(store, Prompts(database), Secrets(None))
    refused, following = [await accept(store, conversation=of) for _ in range(2)]
    bus.away = 1
    with pytest.raises(UnavailableError):
        await Turns(bus, store, Models(bus, settings.models_ttl), questions, settings).enqueue(TENANT, refused.id)
    async with bus.work(INTERACTIVE, 1) as queue, asyncio.timeout(SOON):
        assert (await queue.next()).data.decode() == following.id
    await claim(store, following)


async def test_cancelled_in_the_line(store: Store) -> None:
    """A turn that is cancelled while it waits can be ended at once, and the others keep their order."""
    of = await conversation(store)
    running, cancelled, last = [await accept(store, conversation=of) for _ in range(3)]
    running = await claim(store, running)
    await store.cancel(TENANT, cancelled.id)
    await store.finish(await claim(store, cancelled), Outcome("cancelled", []))
    assert await store.claim(last.id, "x", LEASE) is None
    assert (await store.finish(running, Outcome("completed", [])))[1] == last.id


@pytest.mark.parametrize("keep", [True, False])
async def test_making_way(store: Store, keep: bool) -> None:
    """Turns are ended for one behind them; the conversation keeps what they had finished, or nothing of them."""
    of = await conversation(store)
    running, waiting, last = [await accept(store, text, conversation=of) for text in ("a", "b", "c")]
    running = await claim(store, running)
    assert await store.cancel_line(TENANT, [running.id, waiting.id], keep=keep) == [running.id, waiting.id]
    assert await store.cancel_line(TENANT, [running.id], keep=keep) == []
    whole, half = {**item("whole"), "status": "completed"}, {**item("half"), "status": "incomplete"}
    ended, _ = await store.finish(running, Outcome("completed", [whole, half]))
    assert ended.status == "cancelled"
    _, released = await store.finish(await claim(store, waiting), Outcome("cancelled", []))
    assert released == last.id
    assert await texts(store, of) == (["a", "whole", "b"] if keep else [])


async def test_making_way_in_order(store: Store) -> None:
    """What is kept of a turn that waited stands behind what is kept of those before it, so it waits for them to end."""
    of = await conversation(store)
    running, waiting, last = [await accept(store, text, conversation=of) for text in ("a", "b", "c")]
    running = await claim(store, running)
    await store.cancel_line(TENANT, [running.id, waiting.id], keep=True)
    assert await store.claim(waiting.id, "x", LEASE) is None
    assert waiting.id not in {lost.turn for lost in await store.lost(0, 1000)}
    assert (await store.finish(running, Outcome("cancelled", [])))[1] == waiting.id
    assert (await store.finish(await claim(store, waiting), Outcome("cancelled", [])))[1] == last.id
    assert await texts(store, of) == ["a", "b"]


async def test_deleted_conversation(store: Store) -> None:
    """The turns of a conversation that is deleted are told, and wait for nobody any more."""
    of = await conversation(store)
    turns = [await accept(store, conversation=of) for _ in range(2)]
    assert await store.delete_conversation(TENANT, of) == [turn.id for turn in turns]
    for turn in turns:
        await claim(store, turn)
