"""The terminal event of a log, which proves what stands before it."""

from support.event_log import add, flush, lines_of
from support.turns import SUBJECT, a_turn, events_of, unchallenged

from turnstream.digest import LogDigest
from turnstream.events import Batch, encode
from turnstream.memory import MemoryBus
from turnstream.verify import verify
from turnstream_worker.event_log import EventLog


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
