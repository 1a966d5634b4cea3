"""A log that is lost: its writer writes it again, and the fence still holds."""

from typing import Any

import pytest
from support.event_log import add, flush, lines_of, numbers
from support.turns import SUBJECT, a_turn, batches_of, events_of, unchallenged

from turnstream.errors import FencedError
from turnstream.events import Batch, encode
from turnstream.memory import MemoryBus
from turnstream.verify import verify
from turnstream_worker import kept_batches
from turnstream_worker.event_log import EventLog


async def overtaken() -> None:
    """Check a claim that a later attempt has made void."""
    raise FencedError("attempt 1 is not the last")


async def test_lost_log_is_written_again() -> None:
    """A writer whose log is lost writes it again from what it has kept, and goes on with its numbers and its digest."""
    bus = MemoryBus()
    log = EventLog(bus, a_turn(), unchallenged)
    for _ in range(3):
        add(log, 2)
        await flush(log)
    bus.lose_logs()
    log.end("response.completed", response={})
    await flush(log)
    assert await numbers(bus) == list(range(7))
    assert verify(await lines_of(bus)).digest


async def test_long_log_that_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a writer keeps is bounded: of a long log that is lost it writes the end again."""
    monkeypatch.setattr(kept_batches, "KEPT_BYTES", 150)
    bus = MemoryBus()
    log = EventLog(bus, a_turn(), unchallenged)
    for _ in range(10):
        add(log, 1)
        await flush(log)
    bus.lose_logs()
    add(log, 1)
    await flush(log)
    assert await numbers(bus) == [7, 8, 9, 10]


async def test_lost_end_is_written_again() -> None:
    """A log that has lost its end only gets what it lacks, and nothing twice."""
    bus = MemoryBus()
    log = EventLog(bus, a_turn(), unchallenged)
    for _ in range(4):
        add(log, 1)
        await flush(log)
    bus.lose_logs(keep=2)
    add(log, 1)
    await flush(log)
    assert await numbers(bus) == list(range(5))


async def test_log_that_is_lost_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that is lost while it is written again is written again, and a writer that finds no end of it gives up."""
    bus = MemoryBus()
    log = EventLog(bus, a_turn(), unchallenged)
    for _ in range(3):
        add(log, 1)
        await flush(log)
    end, losses = bus.end, 2

    async def losing(subject: str) -> Any:
        nonlocal losses
        last = await end(subject)
        if losses:
            losses -= 1
            bus.lose_logs()
            await bus.append(subject, Batch(0, 0, []), 0)  # so that what the writer has learnt is wrong
        return last

    monkeypatch.setattr(bus, "end", losing)
    bus.lose_logs()
    add(log, 1)
    await flush(log)
    assert await numbers(bus) == [0, 1, 2, 3]
    losses = 1000
    bus.lose_logs()
    add(log, 1)
    with pytest.raises(FencedError):
        await flush(log)


@pytest.mark.parametrize("events", [0, 1])
async def test_fenced_writer_of_a_lost_log(events: int) -> None:
    """A writer whose log was lost and taken by a later attempt is fenced, also where that has marked it only."""
    bus = MemoryBus()
    log = EventLog(bus, a_turn(), unchallenged)
    add(log, 3)
    await flush(log)
    bus.lose_logs()
    successor, state = await EventLog.take_over(bus, a_turn(attempt=2), unchallenged)
    assert state.next == 0
    add(successor, events)
    await flush(successor)
    add(log, 1)
    with pytest.raises(FencedError) as fenced:
        await flush(log)
    assert fenced.value.attempt == 2
    assert await numbers(bus) == list(range(events))


async def test_zombie_in_a_log_that_lost_its_successor() -> None:
    """A writer whose log was lost, with what a later attempt had written in it, is fenced by its claim."""
    bus = MemoryBus()
    zombie = EventLog(bus, a_turn(), overtaken)
    add(zombie, 2)
    await flush(zombie)
    log, _ = await EventLog.take_over(bus, a_turn(attempt=2), unchallenged)
    add(log, 1)
    await flush(log)
    bus.lose_logs()
    add(zombie, 1)
    with pytest.raises(FencedError):
        await flush(zombie)
    assert await batches_of(bus) == []
    add(log, 1)
    await flush(log)
    assert await numbers(bus) == [2, 3]


async def test_taking_over_a_lost_log_too_late() -> None:
    """An attempt that a later one has overtaken does not take over a log that has lost what that one wrote."""
    bus = MemoryBus()
    with pytest.raises(FencedError):
        await EventLog.take_over(bus, a_turn(), overtaken)
    assert await batches_of(bus) == []


async def test_zombie_was_first_in_a_lost_log() -> None:
    """A writer that finds an earlier attempt in its log, which was lost, goes on behind that and fences it again."""
    bus = MemoryBus()
    zombie = EventLog(bus, a_turn(), unchallenged)
    add(zombie, 2)
    await flush(zombie)
    log, _ = await EventLog.take_over(bus, a_turn(attempt=2), unchallenged)
    add(log, 1)
    await flush(log)
    bus.lose_logs()
    add(zombie, 1)
    await flush(zombie)
    add(log, 1)
    await flush(log)
    add(zombie, 1)
    with pytest.raises(FencedError):
        await flush(zombie)
    assert [(event["sequence_number"]) for event in (await events_of(bus))[-2:]] == [2, 3]
    _, state = await EventLog.take_over(bus, a_turn(attempt=3), unchallenged)
    assert state.next == 4


async def test_taking_over_a_log_that_was_lost_and_went_on() -> None:
    """An attempt that takes over behind a writer that had outlived its log goes on with its numbers."""
    bus = MemoryBus()
    await bus.append(SUBJECT, Batch(1, 50, [encode("response.x", 50, {})]), 0)
    log, state = await EventLog.take_over(bus, a_turn(attempt=2), unchallenged)
    assert state.next == 51
    add(log, 1)
    await flush(log)
    assert await numbers(bus) == [50, 51]
