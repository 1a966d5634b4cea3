"""How an attempt takes a log over: it fences the one before it, and goes on with its numbers."""

import asyncio

import pytest
from support.event_log import SOON, add, flush, numbers, sizes
from support.turns import SUBJECT, a_turn, unchallenged

from turnstream.errors import FencedError
from turnstream.events import Batch, encode
from turnstream.memory import MemoryBus
from turnstream_worker.event_log import EventLog


async def test_taking_over_an_empty_log() -> None:
    """An attempt that takes over where nothing was written begins at 0, behind its mark."""
    bus = MemoryBus()
    log, state = await EventLog.take_over(bus, a_turn(attempt=2), unchallenged)
    assert (state.next, state.ended, await sizes(bus)) == (0, False, [0])
    add(log, 2)
    await flush(log)
    assert await numbers(bus) == [0, 1]


async def test_taking_over_goes_on_with_the_numbers() -> None:
    """An attempt that takes over goes on with the number behind the last, over any number of attempts."""
    bus = MemoryBus()
    for attempt in range(1, 6):
        log, state = await EventLog.take_over(bus, a_turn(attempt=attempt), unchallenged)
        assert state.next == 2 * (attempt - 1)
        add(log, 2)
        await flush(log)
    assert await numbers(bus) == list(range(10))


async def test_taking_over_an_ended_log() -> None:
    """A log that has ended is left as it is: no mark stands behind the terminal event."""
    bus = MemoryBus()
    log = EventLog(bus, a_turn(), unchallenged)
    log.append("response.completed", response={})
    await flush(log)
    _, state = await EventLog.take_over(bus, a_turn(attempt=2), unchallenged)
    assert state.ended
    assert await sizes(bus) == [1]


async def test_taking_over_from_a_zombie_that_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A zombie that appends between the reading and the fence delays it, and loses nothing that it had stored."""
    bus = MemoryBus()
    append, zombie = bus.append, EventLog(bus, a_turn(), unchallenged)
    interferences = 3

    async def interfered(subject: str, batch: Batch, expected: int, *, age: int | None = None) -> int:
        nonlocal interferences
        if batch.attempt == 2 and interferences:
            interferences -= 1
            add(zombie, 2)
            await flush(zombie)
        return await append(subject, batch, expected, age=age)

    monkeypatch.setattr(bus, "append", interfered)
    log, state = await EventLog.take_over(bus, a_turn(attempt=2), unchallenged)
    assert (state.next, interferences) == (6, 0)
    add(zombie, 1)
    with pytest.raises(FencedError):
        await flush(zombie)
    add(log, 1)
    await flush(log)
    assert await numbers(bus) == list(range(7))


@pytest.mark.parametrize("stale", [0, 1])
async def test_taking_over_too_late(stale: int) -> None:
    """An attempt that a later one has preceded cannot take over, and leaves no mark."""
    bus = MemoryBus()
    await EventLog.take_over(bus, a_turn(attempt=3), unchallenged)
    bus.stale_replays = stale
    with pytest.raises(FencedError) as fenced:
        async with asyncio.timeout(SOON):
            await EventLog.take_over(bus, a_turn(attempt=2), unchallenged)
    assert fenced.value.attempt == 3
    assert await sizes(bus) == [0]


async def test_taking_over_on_a_stale_replica() -> None:
    """An attempt that was shown an old end of the log reads again until it has the real one."""
    bus = MemoryBus()
    log = EventLog(bus, a_turn(), unchallenged)
    add(log, 3)
    await flush(log)
    bus.stale_replays = 1
    _, state = await EventLog.take_over(bus, a_turn(attempt=2), unchallenged)
    assert state.next == 3


async def test_lost_ack_of_the_mark() -> None:
    """A mark whose ack was lost is recognised, and stands in the log once."""
    bus = MemoryBus()
    await bus.append(SUBJECT, Batch(1, 0, [encode("response.x", 0, {})]), 0)
    bus.lost_acks = 1
    log, _ = await EventLog.take_over(bus, a_turn(attempt=2), unchallenged)
    add(log, 1)
    await flush(log)
    assert await sizes(bus) == [1, 0, 1]
