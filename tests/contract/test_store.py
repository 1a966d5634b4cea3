"""The store on a real Postgres: who owns a turn, which end wins, and what a conversation holds."""

import asyncio
from typing import Any

import pytest
from support.stored import LEASE, OTHER, TENANT, accept, claim, conversation, finish, item, run, texts

from turnstream.errors import FencedError
from turnstream.ids import first_id, new_id
from turnstream.store import Store
from turnstream.turns import Outcome

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
    assert await store.claim(unclaimed.id, "a", LEASE) is None


# Own


async def test_claim_is_exclusive(store: Store) -> None:
    """Of many who claim a turn at once, one gets it, as attempt 1."""
    turn = await accept(store)
    claims = await asyncio.gather(*(store.claim(turn.id, f"owner {n}", LEASE) for n in range(8)))
    [claimed] = [one for one in claims if one]
    assert (claimed.attempt, claimed.status) == (1, "running")


async def test_claim_holds_until_the_next(store: Store) -> None:
    """A claim holds, whoever frees the turn, until another is made or the turn is closed."""
    turn = await claim(store, await accept(store))
    await store.check_claim(turn)
    await store.release(turn, "a")
    await store.check_claim(turn)
    successor = await claim(store, turn, "b")
    await store.check_claim(successor)
    with pytest.raises(FencedError):
        await store.check_claim(turn)
    await finish(store, successor)
    with pytest.raises(FencedError):
        await store.check_claim(successor)


async def test_same_owner_keeps_its_attempt(store: Store) -> None:
    """An owner who claims again, since its answer was lost, has the same attempt."""
    turn = await accept(store)
    assert await claim(store, turn, "a") == await claim(store, turn, "a")


async def test_claim_after_the_lease(store: Store) -> None:
    """A turn whose lease has ended is free, and the next claim raises its attempt."""
    turn = await accept(store)
    await claim(store, turn, "a", lease=0)
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
    """A renewal prolongs the leases of those that are still their owners', and says which of them are cancelled."""
    kept, lost, ended, gone, cancelled = [await accept(store) for _ in range(5)]
    held = {f"of {turn.id}": turn.id for turn in (kept, lost, ended, gone, cancelled)}
    for turn in (kept, lost, ended, cancelled):
        await claim(store, turn, f"of {turn.id}", lease=0)
    await claim(store, lost, "b")
    await store.finish(await claim(store, ended, f"of {ended.id}"), Outcome("completed", []))
    await store.withdraw(gone.id)
    await store.close([ended.id])
    await store.cancel(TENANT, cancelled.id)
    renewed = await store.renew(held, LEASE, patience=5)
    assert renewed == {f"of {kept.id}": False, f"of {cancelled.id}": True}
    assert await store.claim(kept.id, "b", LEASE) is None
    assert await store.renew({}, LEASE, patience=5) == {}


# End


async def test_finish(store: Store) -> None:
    """A finished turn holds all of its outcome, and is nobody's any more."""
    turn = await claim(store, await accept(store))
    answer, usage = [item("hi")], {"total_tokens": 3}
    reason = {"reason": "max_output_tokens"}
    outcome = Outcome("incomplete", answer, usage=usage, incomplete=reason, service_tier="flex")
    finished, _ = await store.finish(turn, outcome)
    assert finished == await store.turn(TENANT, turn.id)
    assert finished.ended
    assert (finished.status, finished.output, finished.usage, finished.error) == ("incomplete", answer, usage, None)
    assert (finished.incomplete, finished.service_tier) == (reason, "flex")
    assert finished.completed_at is not None


async def test_close(store: Store) -> None:
    """A turn that has ended can be claimed for its last events until it is closed, and one that has not ended stays."""
    ended, running = await claim(store, await accept(store), lease=0), await claim(store, await accept(store))
    await store.finish(ended, Outcome("completed", []))
    assert (await claim(store, ended, "b")).output == []
    assert not await store.closed(ended.id)
    await store.close([ended.id, running.id])
    assert [await store.closed(turn.id) for turn in (ended, running)] == [True, False]
    assert await store.claim(ended.id, "c", LEASE) is None
    assert await store.renew({"a": running.id}, LEASE, patience=5) == {"a": False}


async def test_finish_is_fenced(store: Store) -> None:
    """An attempt that another one has followed cannot finish the turn, whether that one has finished it or not."""
    turn = await accept(store)
    first = await claim(store, turn, "a", lease=0)
    second = await claim(store, turn, "b")
    with pytest.raises(FencedError):
        await store.finish(first, Outcome("completed", [item("zombie")]))
    finished, _ = await store.finish(second, Outcome("completed", [item("alive")]))
    with pytest.raises(FencedError):
        await store.finish(first, Outcome("completed", [item("zombie")]))
    assert await store.turn(TENANT, turn.id) == finished


async def test_finish_is_idempotent(store: Store) -> None:
    """An attempt that finishes twice, since its answer was lost, has finished as it did first, and extended once."""
    of = await conversation(store)
    turn = await claim(store, await accept(store, "hello", conversation=of))
    outcome = Outcome("completed", [item("hi")])
    first, _ = await store.finish(turn, outcome)
    again, _ = await store.finish(turn, outcome)
    assert again == first == await store.turn(TENANT, turn.id)
    assert await texts(store, of) == ["hello", "hi"]


async def test_cancelled_stays_cancelled(store: Store) -> None:
    """A turn that was cancelled first stays so when its worker finishes, and keeps what was put out till then."""
    of = await conversation(store)
    turn = await claim(store, await accept(store, "hello", conversation=of))
    cancelled = await store.cancel(TENANT, turn.id)
    assert cancelled is not None
    answer = [item("hi")]
    finished, _ = await store.finish(turn, Outcome("completed", answer))
    assert (finished.status, finished.output) == ("cancelled", answer)
    assert finished.completed_at == cancelled.completed_at
    assert await texts(store, of) == []


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome("failed", [], error={"code": "max_attempts", "message": "No."}),
        Outcome("incomplete", [], incomplete={"reason": "deadline"}),
    ],
)
async def test_cancelled_has_no_other_reason(store: Store, outcome: Outcome) -> None:
    """A turn that was cancelled before it failed, or came to a limit, is shown as cancelled and as nothing else."""
    turn = await claim(store, await accept(store))
    await store.cancel(TENANT, turn.id)
    finished, _ = await store.finish(turn, outcome)
    assert (finished.status, finished.error, finished.incomplete) == ("cancelled", None, None)
    assert await store.turn(TENANT, turn.id) == finished


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


# Show


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
    assert await store.delete_conversation(TENANT, of) == []
    assert await store.delete_conversation(TENANT, of) is None
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
        assert (await store.delete_conversation(tenant, of) is not None) == theirs


@pytest.mark.parametrize("newest_first", [False, True])
async def test_turns_are_listed_by_model(store: Store, newest_first: bool) -> None:
    """Turns are listed by their model, whatever characters stand in other parameters: Postgres reads no NUL in JSON."""
    tenant = new_id("tenant_")
    made = [(new_id("resp_"), {"model": model, "user": "a\0b"}) for model in ("m", "n", "m")]
    for turn, request in made:
        assert await store.accept(turn, tenant, request, [], conversation=None, previous=None)
    page: dict[str, Any] = {"after": None, "before": None, "limit": 100, "newest_first": newest_first}
    expected = [made[0][0], made[2][0]]
    listed = await store.turns(tenant, model="m", **page)
    assert [turn.id for turn in listed] == (expected[::-1] if newest_first else expected)
    assert listed[0].request["user"] == "a\0b"


async def test_tenants_send_again_only_their_own(store: Store) -> None:
    """A body or an idempotency key that another tenant has sent before is new."""
    key, since = new_id("key-"), first_id("resp_", seconds_ago=60)
    first, second = [
        await store.accept(
            new_id("resp_"), tenant, {}, [], conversation=None, previous=None, key=key, fingerprint=key.encode()
        )
        for tenant in (TENANT, OTHER)
    ]
    assert first
    assert second
    assert first.turn != second.turn
    assert await store.retried(TENANT, key.encode(), since) == first
    assert await store.retried(OTHER, key.encode(), since) == second


async def test_secret_of_the_deployment(store: Store) -> None:
    """The deployment has a key of 256 bits of its own, which stays the same: what clients keep is sealed with it."""
    key = await store.secret("sealing")
    assert len(key) == 32
    assert await store.secret("sealing") == key
