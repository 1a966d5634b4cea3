"""The writer of a log: batches grow under load, the fence holds, and no number is left out or used twice."""

import asyncio

import pytest
from support.event_log import SOON, add, flush, numbers, sizes
from support.turns import SUBJECT, a_turn, events_of, unchallenged

from turnstream.errors import BusUnavailableError, EventTooLargeError, FencedError
from turnstream.memory import MAX_PAYLOAD, MemoryBus
from turnstream_worker.event_log import BATCH_BYTES, WAITING_BYTES, EventLog


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
