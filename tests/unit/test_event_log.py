"""The writer of a log: batches grow under load, the fence holds, and no number is left out or used twice."""

import asyncio
from typing import Any

import pytest
from support.turns import SUBJECT, a_turn, batches_of, events_of, unchallenged

from turnstream.digest import LogDigest
from turnstream.errors import BusUnavailableError, EventTooLargeError, FencedError
from turnstream.events import Batch, encode
from turnstream.memory import MAX_PAYLOAD, MemoryBus
from turnstream.verify import verify
from turnstream_worker import kept_batches
from turnstream_worker.event_log import BATCH_BYTES, WAITING_BYTES, EventLog

SOON = 5  # seconds


def add(log: EventLog, count: int, **fields: Any) -> None:
    """Append so many events."""
    for _ in range(count):
        log.append("response.x", **fields)


async def flush(log: EventLog) -> None:
    """Flush a log within a time."""
    async with asyncio.timeout(SOON):
        await log.flush()


async def overtaken() -> None:
    """Check a claim that a later attempt has made void."""
    raise FencedError("attempt 1 is not the last")


async def numbers(bus: MemoryBus) -> list[int]:
    """Return the numbers of the log's events, in its order."""
    return [event["sequence_number"] for event in await events_of(bus)]


async def lines_of(bus: MemoryBus) -> list[bytes]:
    """Return the lines of the log."""
    return [line async for stored in bus.replay(SUBJECT, 0) for line in stored.batch.lines]


async def sizes(bus: MemoryBus) -> list[int]:
    """Return the sizes of the log's batches."""
    return [len(batch) for batch in await batches_of(bus)]


async def test_numbers_are_contiguous() -> None:
    """Events are numbered from 0 in the order in which they were appended, over all batches."""
    bus = MemoryBus()
    log = EventLog(bus, a_turn(), unchallenged)
    for count in (1, 5, 2):
        add(log, count)
        await flush(log)
    assert await numbers(bus) == list(range(8))
    assert await sizes(bus) == [1, 5, 2]


async def test_first_event_leaves_at_once() -> None:
    """An event is sent without a flush, when nothing is in flight."""
    bus = MemoryBus()
    log = EventLog(bus, a_turn(), unchallenged)
    async with bus.tail(SUBJECT.replace("events", "live")) as tail:
        add(log, 1)
        assert await tail.next(SOON) is not None
    await flush(log)


async def test_batches_grow_while_one_is_in_flight() -> None:
    """All that is appended while a batch is in flight goes out together in the next one."""
    bus = MemoryBus()
    log = EventLog(bus, a_turn(), unchallenged)
    bus.reachable.clear()
    add(log, 1)
    await asyncio.sleep(0)  # the first is in flight now
    add(log, 7)
    bus.reachable.set()
    await flush(log)
    assert await sizes(bus) == [1, 7]


async def test_batches_are_bounded() -> None:
    """A batch is closed once it is large, so that what is in flight together fits a message."""
    bus = MemoryBus()
    log = EventLog(bus, a_turn(), unchallenged)
    add(log, 10, delta="x" * (BATCH_BYTES // 2 - 100))
    await flush(log)
    assert await sizes(bus) == [2] * 5
    assert await numbers(bus) == list(range(10))


async def test_room_waits_for_the_bus() -> None:
    """A writer that is faster than the bus waits as long as too much is waiting, and no longer."""
    bus = MemoryBus()
    log = EventLog(bus, a_turn(), unchallenged)
    bus.reachable.clear()
    add(log, 1)
    await log.room()
    add(log, 20, delta="x" * (WAITING_BYTES // 16))
    waiting = asyncio.create_task(log.room())
    done, _ = await asyncio.wait([waiting], timeout=0.02)
    assert not done
    bus.reachable.set()
    async with asyncio.timeout(SOON):
        await waiting
    await flush(log)
    assert await numbers(bus) == list(range(21))


async def test_lost_ack_is_no_fence() -> None:
    """A batch whose ack was lost is stored once, and the log goes on behind it."""
    bus = MemoryBus()
    log = EventLog(bus, a_turn(), unchallenged)
    for _ in range(3):
        bus.lost_acks = 1
        add(log, 2)
        await flush(log)
    assert await numbers(bus) == list(range(6))


async def test_fenced_writer_stops() -> None:
    """A writer that another attempt has followed is told so by every call, and writes nothing any more."""
    bus = MemoryBus()
    log = EventLog(bus, a_turn(), unchallenged)
    await EventLog.take_over(bus, a_turn(attempt=2), unchallenged)
    add(log, 1)
    with pytest.raises(FencedError) as fenced:
        await flush(log)
    assert fenced.value.attempt == 2
    for call in (log.flush(), log.room()):
        with pytest.raises(FencedError):
            await call
    with pytest.raises(FencedError):
        add(log, 1)
    assert await numbers(bus) == []


async def test_lost_ack_and_successor(monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer whose ack was lost is fenced if a successor went on meanwhile, and its batch stays stored once."""
    bus = MemoryBus()
    zombie, request = EventLog(bus, a_turn(), unchallenged), bus.request
    requests = 0
    successors = []

    async def after_a_takeover() -> None:
        nonlocal requests
        requests += 1
        if requests == 2:  # the zombie repeats its batch
            successors.append(await EventLog.take_over(bus, a_turn(attempt=2), unchallenged))
        await request()

    monkeypatch.setattr(bus, "request", after_a_takeover)
    bus.lost_acks = 1
    add(zombie, 1)
    with pytest.raises(FencedError):
        await flush(zombie)
    [(successor, state)] = successors
    assert state.next == 1
    add(successor, 1)
    await flush(successor)
    assert await numbers(bus) == [0, 1]


async def test_bus_away_for_too_long() -> None:
    """A writer whose bus is away for longer than it tries says so."""
    bus = MemoryBus()
    log = EventLog(bus, a_turn(), unchallenged)
    bus.away = 1
    add(log, 1)
    with pytest.raises(BusUnavailableError):
        await flush(log)


async def test_too_large_event() -> None:
    """An event that no message can hold is the writer's error, and the log goes on without it."""
    bus = MemoryBus()
    log = EventLog(bus, a_turn(), unchallenged)
    add(log, 1)
    with pytest.raises(EventTooLargeError):
        add(log, 1, delta="x" * MAX_PAYLOAD)
    log.end("response.failed", response="x")
    await flush(log)
    assert await numbers(bus) == [0, 1]
    *_, last = await events_of(bus)
    assert last["log"]["count"] == 1


async def test_large_event_behind_small_ones() -> None:
    """An event that fills a message is sent alone, whatever waits with it."""
    bus = MemoryBus()
    log = EventLog(bus, a_turn(), unchallenged)
    add(log, 3)
    add(log, 1, delta="x" * (bus.event_limit - 100))
    add(log, 1)
    await flush(log)
    assert await sizes(bus) == [3, 1, 1]


async def test_fault_is_no_silent_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever breaks the sending, a flush does not say that all is stored."""
    bus = MemoryBus()
    log = EventLog(bus, a_turn(), unchallenged)

    async def broken(*_: object) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(bus, "append", broken)
    add(log, 1)
    with pytest.raises(Exception):  # noqa: B017, PT011 - which one is left to the log
        await flush(log)


# Taking over


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


# The end


async def test_end_proves_what_stands_before_it() -> None:
    """The terminal event has the count and the digest of all events before it, over all batches."""
    bus = MemoryBus()
    log = EventLog(bus, a_turn(), unchallenged)
    for count in (1, 5, 2):
        add(log, count, delta="é\n")
        await flush(log)
    log.end("response.completed", response={})
    await flush(log)
    digest = LogDigest()
    lines = await lines_of(bus)
    for line in lines[:-1]:
        digest.add(line)
    assert (await events_of(bus))[-1]["log"] == digest.shown()
    assert verify(lines).count == 8


async def test_end_of_a_log_that_was_taken_over() -> None:
    """An attempt that takes over digests what those before it have written, and what it writes itself."""
    bus = MemoryBus()
    for attempt in range(1, 4):
        log, _ = await EventLog.take_over(bus, a_turn(attempt=attempt), unchallenged)
        add(log, attempt)
        await flush(log)
    log.end("response.failed", response={})
    await flush(log)
    assert verify(await lines_of(bus)).digest


async def test_end_of_a_log_without_its_beginning() -> None:
    """An attempt that finds the beginning of the log gone cannot digest it, and says so; the count still holds."""
    bus = MemoryBus()
    await bus.append(SUBJECT, Batch(1, 7, [encode("response.x", 7, {})]), 0)
    log, _ = await EventLog.take_over(bus, a_turn(attempt=2), unchallenged)
    log.end("response.completed", response={})
    await flush(log)
    assert (await events_of(bus))[-1]["log"] == {"count": 8, "digest": None}


# A log that is lost


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
