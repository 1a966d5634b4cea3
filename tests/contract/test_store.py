"""The store on a real Postgres: who owns a turn, which end wins, and what a conversation holds."""

import asyncio
from typing import Any

import pytest

from turnstream.errors import FencedError
from turnstream.ids import first_id, new_id
from turnstream.store import Store
from turnstream.turns import Item, Outcome, Turn

TENANT, OTHER = "default", "other"
LEASE = 60  # seconds; longer than any test


def item(text: str) -> Item:
    """Make an item that holds no more than the store looks at, and something to know it by."""
    return {"id": new_id("msg_"), "text": text}


async def accept(store: Store, *texts: str, tenant: str = TENANT, **refers_to: Any) -> Turn:
    """Accept a new turn whose input items say `texts`."""
    references = {"conversation": None, "previous": None, **refers_to}
    turn = new_id("resp_")
    assert await store.accept(turn, tenant, {"model": "m"}, [item(text) for text in texts], **references)
    accepted = await store.turn(tenant, turn)
    assert accepted is not None
    return accepted


async def claim(store: Store, turn: Turn, owner: str = "a", lease: float = LEASE) -> Turn:
    """Claim a turn that nobody holds."""
    claimed = await store.claim(turn.id, owner, lease)
    assert claimed is not None
    return claimed


async def run(store: Store, *texts: str, status: Any = "completed", **refers_to: Any) -> Turn:
    """Accept, claim and finish a turn that answers `re: <text>` to each of `texts`."""
    turn = await claim(store, await accept(store, *texts, **refers_to))
    return await store.finish(turn, Outcome(status, [item(f"re: {text}") for text in texts]))


async def conversation(store: Store, tenant: str = TENANT) -> str:
    """Create a conversation and return its id."""
    return (await store.create_conversation(new_id("conv_"), tenant, {"topic": "x"})).id


async def history(store: Store, turn: Turn) -> list[str]:
    """Return the texts of the items before a turn's own."""
    items = await store.history(turn)
    assert items is not None
    return [one["text"] for one in items]


async def texts(store: Store, of: str) -> list[str]:
    """Return the texts of a conversation's items, oldest first."""
    return [one["text"] for one in await store.items(TENANT, of, after=None, limit=1000, newest_first=False)]


# Accept


async def test_turn_is_accepted_once(store: Store) -> None:
    """A turn that is sent twice is stored once, as it was the first time."""
    first = await accept(store, "hello")
    assert await store.accept(first.id, TENANT, {"model": "n"}, [], conversation=None, previous=None)
    assert await store.turn(TENANT, first.id) == first
    assert (first.status, first.attempt, first.output, first.completed_at) == ("queued", 0, None, None)
    assert (first.request, first.input[0]["text"]) == ({"model": "m"}, "hello")


@pytest.mark.parametrize("reference", ["conversation", "previous"])
async def test_unknown_reference_is_refused(store: Store, reference: str) -> None:
    """A turn that refers to what is not there is not stored."""
    turn = new_id("resp_")
    references: dict[str, Any] = {"conversation": None, "previous": None, reference: "none_such"}
    assert not await store.accept(turn, TENANT, {}, [], **references)
    assert await store.turn(TENANT, turn) is None


async def test_another_tenants_references_are_refused(store: Store) -> None:
    """A turn that refers to another tenant's conversation or turn is not stored."""
    theirs = await accept(store, tenant=OTHER)
    of_theirs = await conversation(store, OTHER)
    mine = new_id("resp_")
    assert not await store.accept(mine, TENANT, {}, [], conversation=of_theirs, previous=None)
    assert not await store.accept(mine, TENANT, {}, [], conversation=None, previous=theirs.id)


async def test_withdrawing(store: Store) -> None:
    """A turn is taken back as long as nobody has claimed it, and not later."""
    unclaimed, claimed = await accept(store), await claim(store, await accept(store))
    for turn in (unclaimed, claimed):
        await store.withdraw(turn.id)
    assert await store.turn(TENANT, unclaimed.id) is None
    assert await store.turn(TENANT, claimed.id) == claimed
    assert await store.held_for(unclaimed.id) is None


# Own


async def test_claim_is_exclusive(store: Store) -> None:
    """Of many who claim a turn at once, one gets it, as attempt 1; the others are told how long it is held."""
    turn = await accept(store)
    claims = await asyncio.gather(*(store.claim(turn.id, f"owner {n}", LEASE) for n in range(8)))
    [claimed] = [one for one in claims if one]
    assert (claimed.attempt, claimed.status) == (1, "running")
    held_for = await store.held_for(turn.id)
    assert held_for is not None
    assert LEASE - 10 < held_for <= LEASE


async def test_same_owner_keeps_its_attempt(store: Store) -> None:
    """An owner who claims again, since its answer was lost, has the same attempt."""
    turn = await accept(store)
    assert await claim(store, turn, "a") == await claim(store, turn, "a")


async def test_claim_after_the_lease(store: Store) -> None:
    """A turn whose lease has ended is free, and the next claim raises its attempt."""
    turn = await accept(store)
    await claim(store, turn, "a", lease=0)
    assert await store.held_for(turn.id) == 0
    assert (await claim(store, turn, "b")).attempt == 2


async def test_claim_of_nothing(store: Store) -> None:
    """A turn that is not there cannot be claimed."""
    assert await store.claim("resp_none", "a", LEASE) is None


async def test_release(store: Store) -> None:
    """A turn that its owner gives up is free at once; nobody else can give it up."""
    turn = await claim(store, await accept(store), "a")
    await store.release(turn, "b")
    assert await store.claim(turn.id, "b", LEASE) is None
    await store.release(turn, "a")
    assert (await claim(store, turn, "b")).attempt == 2


async def test_renewal_tells_what_is_lost(store: Store) -> None:
    """A renewal prolongs the leases of those that are still their owners', and leaves out the others."""
    kept, lost, ended, gone = [await accept(store) for _ in range(4)]
    held = {f"of {turn.id}": turn.id for turn in (kept, lost, ended, gone)}
    for turn in (kept, lost, ended):
        await claim(store, turn, f"of {turn.id}", lease=0)
    await claim(store, lost, "b")
    await store.finish(await claim(store, ended, f"of {ended.id}"), Outcome("completed", []))
    await store.withdraw(gone.id)
    assert await store.renew(held, LEASE, patience=5) == {f"of {kept.id}"}
    assert await store.claim(kept.id, "b", LEASE) is None
    assert await store.renew({}, LEASE, patience=5) == set()


# End


async def test_finish(store: Store) -> None:
    """A finished turn holds all of its outcome, and is nobody's any more."""
    turn = await claim(store, await accept(store))
    answer, usage = [item("hi")], {"total_tokens": 3}
    reason = {"reason": "max_output_tokens"}
    finished = await store.finish(turn, Outcome("incomplete", answer, usage=usage, incomplete=reason))
    assert finished == await store.turn(TENANT, turn.id)
    assert finished.ended
    assert (finished.status, finished.output, finished.usage, finished.error) == ("incomplete", answer, usage, None)
    assert finished.incomplete == reason
    assert finished.completed_at is not None
    assert await store.held_for(turn.id) == 0


async def test_finish_is_fenced(store: Store) -> None:
    """An attempt that another one has followed cannot finish the turn, whether that one has finished it or not."""
    turn = await accept(store)
    first = await claim(store, turn, "a", lease=0)
    second = await claim(store, turn, "b")
    with pytest.raises(FencedError):
        await store.finish(first, Outcome("completed", [item("zombie")]))
    finished = await store.finish(second, Outcome("completed", [item("alive")]))
    with pytest.raises(FencedError):
        await store.finish(first, Outcome("completed", [item("zombie")]))
    assert await store.turn(TENANT, turn.id) == finished


async def test_finish_is_idempotent(store: Store) -> None:
    """An attempt that finishes twice, since its answer was lost, has finished as it did first, and extended once."""
    of = await conversation(store)
    turn = await claim(store, await accept(store, "hello", conversation=of))
    outcome = Outcome("completed", [item("hi")])
    first = await store.finish(turn, outcome)
    assert await store.finish(turn, outcome) == first == await store.turn(TENANT, turn.id)
    assert await texts(store, of) == ["hello", "hi"]


async def test_cancelled_stays_cancelled(store: Store) -> None:
    """A turn that was cancelled first stays so when its worker finishes, and keeps what was put out till then."""
    of = await conversation(store)
    turn = await claim(store, await accept(store, "hello", conversation=of))
    cancelled = await store.cancel(TENANT, turn.id)
    assert cancelled is not None
    answer = [item("hi")]
    finished = await store.finish(turn, Outcome("completed", answer))
    assert (finished.status, finished.output) == ("cancelled", answer)
    assert finished.completed_at == cancelled.completed_at
    assert await texts(store, of) == []


async def test_finished_cannot_be_cancelled(store: Store) -> None:
    """A turn that has ended cannot be cancelled, and one that was cancelled not again."""
    finished, cancelled = await run(store), await accept(store)
    await store.cancel(TENANT, cancelled.id)
    for turn in (finished, cancelled):
        assert await store.cancel(TENANT, turn.id) is None
    assert await store.turn(TENANT, finished.id) == finished


async def test_handover_is_no_failed_beginning(store: Store) -> None:
    """A turn that was given up by a worker that was stopped can be claimed at once, and has not failed by it."""
    turn = await claim(store, await accept(store), "a")
    await store.release(turn, "a")
    again = await claim(store, turn, "b")
    assert (again.attempt, again.beginnings) == (2, 1)


async def test_only_what_has_ended_can_be_followed(store: Store) -> None:
    """A turn that runs has no output yet to go on from, and is not accepted as a previous one."""
    turn = await claim(store, await accept(store))
    follow: dict[str, Any] = {"conversation": None, "previous": turn.id}
    assert not await store.accept("resp_follower", TENANT, {"model": "m"}, [], **follow)
    await store.finish(turn, Outcome("completed", []))
    assert await store.accept("resp_follower", TENANT, {"model": "m"}, [], **follow)


async def test_cancelled_before_it_ran(store: Store) -> None:
    """A turn that was cancelled in the queue is still claimed, so that its log gets an end, and stays cancelled."""
    turn = await accept(store)
    await store.cancel(TENANT, turn.id)
    assert (await claim(store, turn)).status == "cancelled"


# Remember


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
    assert await store.history(turn) is None
    finished = await store.finish(turn, Outcome("failed", []))
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


@pytest.mark.parametrize("newest_first", [False, True])
async def test_paging(store: Store, newest_first: bool) -> None:
    """A conversation's items come in pages, each behind the last item of the one before it, in both directions."""
    of = await conversation(store)
    await run(store, "a", "b", conversation=of)
    await run(store, "c", conversation=of)
    expected = await texts(store, of)
    seen: list[str] = []
    after = None
    while page := await store.items(TENANT, of, after=after, limit=4, newest_first=newest_first):
        assert len(page) <= 4
        seen += [one["text"] for one in page]
        after = page[-1]["id"]
    assert seen == (expected[::-1] if newest_first else expected)


async def test_conversation_is_created_once(store: Store) -> None:
    """A conversation that is created twice is the first one; one that is deleted is gone, with its items."""
    of = await conversation(store)
    assert (await store.create_conversation(of, TENANT, {})).metadata == {"topic": "x"}
    await run(store, "a", conversation=of)
    assert await store.delete_conversation(TENANT, of)
    assert not await store.delete_conversation(TENANT, of)
    assert await store.conversation(TENANT, of) is None
    assert await texts(store, of) == []


async def test_tenants_see_only_their_own(store: Store) -> None:
    """Another tenant's turns, conversations and items can be neither read, listed, changed, cancelled nor deleted."""
    one = item("one")
    of = (await store.create_conversation(new_id("conv_"), TENANT, {"topic": "x"}, [one])).id
    ended, turn = await run(store, "a"), await accept(store)
    page: dict[str, Any] = {"after": None, "limit": 100, "newest_first": True}
    for tenant in (OTHER, TENANT):
        theirs = tenant == TENANT
        listed = await store.turns(tenant, before=None, model=None, **page)
        assert (turn in listed) == theirs
        assert (await store.turn(tenant, turn.id) == turn) == theirs
        assert (await store.cancel(tenant, turn.id) is not None) == theirs
        assert await store.delete_turn(tenant, ended.id) == theirs
        assert (await store.conversation(tenant, of) is not None) == theirs
        assert (await store.update_conversation(tenant, of, {"topic": tenant}) is not None) == theirs
        assert (await store.item(tenant, of, one["id"]) == one) == theirs
        assert (await store.items(tenant, of, **page) == [one]) == theirs
        await store.add_items(tenant, of, [item(tenant)])
        assert await texts(store, of) == (["one", TENANT] if theirs else ["one"])
        assert await store.delete_item(tenant, of, one["id"]) == theirs
        assert await store.delete_conversation(tenant, of) == theirs


async def test_tenants_send_again_only_their_own(store: Store) -> None:
    """A body or an idempotency key that another tenant has sent before is new."""
    key, since = new_id("key-"), first_id("resp_", seconds_ago=60)
    first, second = [
        await store.accept(
            new_id("resp_"), tenant, {}, [], conversation=None, previous=None, key=key, fingerprint=key.encode()
        )
        for tenant in (TENANT, OTHER)
    ]
    assert first != second
    assert await store.retried(TENANT, key.encode(), since) == first
    assert await store.retried(OTHER, key.encode(), since) == second
