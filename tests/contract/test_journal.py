"""The journal: what an attempt has finished is there for the next one, and no attempt that was followed writes it."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from support.stored import accept, claim, finish, item, run

from turnstream.errors import FencedError
from turnstream.steps import Step
from turnstream.store import Store

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def a_step(number: int, attempt: int = 1) -> Step:
    """Make a step that has finished."""
    made = [item(f"step {number}")]
    return Step(number, "model_call", None, attempt, "finished", b"d" * 32, made, {"prompt_tokens": 1}, NOW, NOW)


async def test_steps_are_kept_in_order(store: Store) -> None:
    """What was journalled, together or apart, is read back whole and in order."""
    turn = await claim(store, await accept(store))
    steps = [a_step(number) for number in range(4)]
    await store.journal(turn, steps[:3])
    await store.journal(turn, steps[3:])
    assert await store.steps(turn.id) == steps


async def test_step_goes_on(store: Store) -> None:
    """A call is journalled before it starts and after it ends; what it was begun with stays. Twice is as once."""
    turn = await claim(store, await accept(store))
    started = replace(a_step(0), kind="tool_call", name="charge", state="started", usage=None, finished_at=None)
    ended = replace(started, state="finished", items=[item("done")], finished_at=NOW)
    for step in (started, ended, ended):
        await store.journal(turn, [step])
        assert await store.steps(turn.id) == [step]


async def test_journal_is_fenced(store: Store) -> None:
    """An attempt that was followed by another writes nothing, nor does one whose turn has ended."""
    turn = await accept(store)
    first = await claim(store, turn, "a", lease=0)
    second = await claim(store, turn, "b")
    with pytest.raises(FencedError):
        await store.journal(first, [a_step(0)])
    await store.journal(second, [a_step(0, attempt=2)])
    await finish(store, second)
    with pytest.raises(FencedError):
        await store.journal(second, [a_step(1, attempt=2)])
    assert [step.attempt for step in await store.steps(turn.id)] == [2]


async def test_journal_goes_with_its_turn(store: Store) -> None:
    """A turn that is deleted or forgotten leaves no journal."""
    deleted, forgotten = [await claim(store, await accept(store)) for _ in range(2)]
    for turn in (deleted, forgotten):
        await store.journal(turn, [a_step(0)])
        await finish(store, turn)
    assert await store.delete_turn(deleted.tenant, deleted.id)
    await store.forget(forgotten)
    assert await store.steps(deleted.id) == await store.steps(forgotten.id) == []
    assert await store.steps((await run(store, "a")).id) == []
