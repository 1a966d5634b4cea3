"""An approval goes to one call, on a real Postgres: whoever comes with it later learns how far that one is."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

from support.stored import OTHER, TENANT, accept, claim, finish

from turnstream.ids import item_id, new_id
from turnstream.steps import ApprovedCall, Step
from turnstream.store import Store
from turnstream.turns import Turn

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def a_request() -> str:
    """Make the id of a request for approval."""
    return item_id("mcpr_", new_id("resp_"))


def a_call(turn: Turn, *requests: str) -> list[Step]:
    """Make the steps of calls that are begun with approvals."""
    items = [{"id": item_id("mcp_", turn.id), "approval_request_id": request} for request in requests]
    return [
        Step(number, "tool_call", "charge", turn.attempt, "started", b"d" * 32, [item], None, NOW, None)
        for number, item in enumerate(items)
    ]


async def begun(store: Store, *requests: str, tenant: str = TENANT) -> tuple[Turn, list[Step]]:
    """Begin calls with approvals, in a turn of their own."""
    turn = await claim(store, await accept(store, tenant=tenant))
    steps = a_call(turn, *requests)
    await store.journal(turn, steps)
    return turn, steps


async def approved(store: Store, request: str, tenant: str = TENANT) -> ApprovedCall:
    """Return the call that an approval has gone to."""
    found = await store.approved(tenant, request)
    assert found
    return found


async def test_first_call_has_it(store: Store) -> None:
    """An approval is the first call's, and what becomes of that call is known beyond the end of its turn."""
    request = a_request()
    assert await store.approved(TENANT, request) is None
    turn, [step] = await begun(store, request)
    await begun(store, request)
    found = await approved(store, request)
    assert (found.turn, found.step, found.state, found.open) == (turn.id, 0, "started", True)
    assert found.key == f"{turn.id}:0:{(step.items or [])[0]['id']}"
    ended = [{**(step.items or [])[0], "output": "done \0"}]
    await store.journal(turn, [replace(step, state="finished", items=ended, finished_at=NOW)])
    await finish(store, turn, status="failed")
    found = await approved(store, request)
    assert (found.turn, found.state, found.items, found.open) == (turn.id, "finished", ended, False)


async def test_begun_by_many_at_once(store: Store) -> None:
    """Of turns that come with the same approvals at the same time, each approval is one's, and nobody is stuck."""
    requests = [a_request() for _ in range(5)]
    begin = [begun(store, *order) for order in (requests, requests[::-1]) for _ in range(5)]
    turns = {turn.id for turn, _ in await asyncio.gather(*begin)}
    found = [await approved(store, request) for request in requests]
    assert {one.turn for one in found} <= turns
    assert len({one.key for one in found}) == len(requests)


async def test_next_attempt_has_it(store: Store) -> None:
    """An approval stays with a call that another attempt goes on with, under the same key."""
    request = a_request()
    turn, [step] = await begun(store, request)
    before = await approved(store, request)
    await store.journal(turn, [replace(step, state="uncertain", attempt=2)])
    assert await approved(store, request) == replace(before, state="uncertain")


async def test_call_that_is_not_run(store: Store) -> None:
    """A call that is journalled as not run leaves its approval to another one."""
    request = a_request()
    turn = await claim(store, await accept(store))
    await store.journal(turn, [replace(step, state="finished") for step in a_call(turn, request)])
    assert await store.approved(TENANT, request) is None


async def test_approvals_of_another_tenant(store: Store) -> None:
    """What one tenant has approved is nothing to another, even under the same id."""
    request = a_request()
    mine, _ = await begun(store, request)
    assert await store.approved(OTHER, request) is None
    others, _ = await begun(store, request, tenant=OTHER)
    assert (await approved(store, request)).turn == mine.id
    assert (await approved(store, request, OTHER)).turn == others.id


async def test_approval_outlives_its_turn(store: Store) -> None:
    """A turn that is deleted or forgotten takes along what its call returned, and not that the approval was used."""
    for erase in (store.forget, lambda turn: store.delete_turn(turn.tenant, turn.id)):
        request = a_request()
        turn, _ = await begun(store, request)
        await finish(store, turn)
        await erase(turn)
        found = await approved(store, request)
        assert (found.turn, found.state, found.items, found.open) == (turn.id, None, None, False)
