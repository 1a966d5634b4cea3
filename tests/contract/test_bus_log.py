"""Logs, held against the bus in memory and against a real NATS server alike."""

from collections.abc import Awaitable, Callable

import pytest
from support.bus_log import SOON, append, batch, read, subscribed

from turnstream import subjects
from turnstream.bus import Bus, Stored
from turnstream.errors import EventTooLargeError, FencedError
from turnstream.events import Batch
from turnstream.subjects import DEFAULT_TENANT

type LoseLogs = Callable[[], Awaitable[None]]


async def test_append_goes_on_behind_the_last(worker_bus: Bus, subject: str) -> None:
    """Batches get growing stream sequences, and the log reads as it was written."""
    sequences = await append(worker_bus, subject, 3)
    assert sequences == sorted(set(sequences))
    assert [(stored.sequence, stored.batch) for stored in await read(worker_bus, subject)] == [
        (sequence, batch(number)) for number, sequence in enumerate(sequences)
    ]


async def test_logs_do_not_fence_each_other(worker_bus: Bus, subject: str) -> None:
    """Appending to one log does not move the end of another."""
    [first] = await append(worker_bus, subject, 1)
    await append(worker_bus, f"{subject}-other", 2)
    await worker_bus.append(subject, batch(1), first)


@pytest.mark.parametrize("expected", [0, 1])
async def test_stale_writer_is_fenced(worker_bus: Bus, subject: str, expected: int) -> None:
    """A batch that is not behind the last one is refused with its writer's attempt, and changes nothing."""
    sequences = [0, *await append(worker_bus, subject, 1)]
    last = await worker_bus.append(subject, batch(1, attempt=7), sequences[-1])
    with pytest.raises(FencedError) as refused:
        await worker_bus.append(subject, batch(1, attempt=1, size=2), sequences[expected])
    assert refused.value.attempt == 7
    assert [stored.sequence for stored in await read(worker_bus, subject)] == [sequences[1], last]


async def test_writer_ahead_of_an_empty_log_is_fenced(worker_bus: Bus, subject: str) -> None:
    """A batch that expects more than an empty log holds is refused, with nobody's attempt."""
    with pytest.raises(FencedError) as refused:
        await worker_bus.append(subject, batch(0), 123_456_789)
    assert refused.value.attempt == 0


async def test_repetition_is_recognised(worker_bus: Bus, subject: str) -> None:
    """A batch that is sent again, since its ack was lost, is stored once and answered with its sequence."""
    [before] = await append(worker_bus, subject, 1)
    sequence = await worker_bus.append(subject, batch(1, 2), before)
    assert await worker_bus.append(subject, batch(1, 2), before) == sequence
    assert len(await read(worker_bus, subject)) == 2


@pytest.mark.parametrize("other", [batch(0, attempt=2), batch(0, size=2), batch(0, 2)])
async def test_only_the_same_batch_is_a_repetition(worker_bus: Bus, subject: str, other: Batch) -> None:
    """A batch that differs in its attempt, its events or its count is no repetition of what is stored."""
    await append(worker_bus, subject, 1)
    with pytest.raises(FencedError):
        await worker_bus.append(subject, other, 0)


async def test_repetition_behind_a_successor_is_fenced(worker_bus: Bus, subject: str) -> None:
    """A writer whose batch was stored is fenced all the same once a successor stands behind it."""
    [first] = await append(worker_bus, subject, 1)
    await worker_bus.append(subject, batch(1, 0, attempt=2), first)
    with pytest.raises(FencedError) as refused:
        await worker_bus.append(subject, batch(0), 0)
    assert refused.value.attempt == 2


async def test_empty_batch_is_a_mark(worker_bus: Bus, subject: str) -> None:
    """A batch without events is stored as any other, keeps its place, and is recognised when it is repeated."""
    mark = batch(0, 0, attempt=2)
    sequence = await worker_bus.append(subject, mark, 0)
    assert await worker_bus.append(subject, mark, 0) == sequence
    assert [(stored.sequence, stored.batch) for stored in await read(worker_bus, subject)] == [(sequence, mark)]


async def test_too_large_batch_is_refused(worker_bus: Bus, subject: str, max_payload: int) -> None:
    """A batch that is larger than a message may be is refused as that, at once, and the log can go on."""
    with pytest.raises(EventTooLargeError):
        await worker_bus.append(subject, batch(0, size=max_payload), 0)
    await append(worker_bus, subject, 1)


async def test_headers_count_too(worker_bus: Bus, subject: str, max_payload: int) -> None:
    """A batch that is too large only with its headers is refused as that, and does not cost the connection."""
    size = max_payload - len(batch(0, size=0).payload())
    with pytest.raises(EventTooLargeError):
        await worker_bus.append(subject, batch(0, size=size), 0)
    await append(worker_bus, subject, 1)


async def test_end_of_a_log(worker_bus: Bus, subject: str) -> None:
    """The end is the last batch, and None for a log that nobody has written to."""
    assert await worker_bus.end(subject) is None
    sequences = await append(worker_bus, subject, 2)
    end = await worker_bus.end(subject)
    assert end is not None
    assert (end.sequence, end.batch) == (sequences[-1], batch(1))


async def test_empty_log_reads_empty(gateway_bus: Bus, subject: str) -> None:
    """A log that nobody has written to reads as empty."""
    assert await read(gateway_bus, subject) == []


async def test_reading_from_the_middle(worker_bus: Bus, gateway_bus: Bus, subject: str) -> None:
    """A log is read from behind any batch, whatever other logs lie between, and is empty behind its last."""
    sequences: list[int] = []
    for number in range(4):
        sequences.append(await worker_bus.append(subject, batch(number), sequences[-1] if sequences else 0))
        await append(worker_bus, f"{subject}-{number}", 2)
    for place, sequence in enumerate([0, *sequences]):
        stored = await read(gateway_bus, subject, sequence)
        assert [one.sequence for one in stored] == sequences[place:]


async def test_reading_a_long_log(worker_bus: Bus, gateway_bus: Bus, subject: str) -> None:
    """A log of more than twice what one read answers is read whole and in order."""
    sequences = await append(worker_bus, subject, 600)
    stored = await read(gateway_bus, subject)
    assert [one.sequence for one in stored] == sequences
    assert [one.batch.first for one in stored] == list(range(600))


async def test_lost_log(worker_bus: Bus, gateway_bus: Bus, subject: str, lose_logs: LoseLogs) -> None:
    """A log that was lost is empty, and whoever expects something in it is refused with nobody's attempt."""
    sequences = await append(worker_bus, subject, 2)
    await lose_logs()
    assert await worker_bus.end(subject) is None
    for after in (0, *sequences):
        assert await read(gateway_bus, subject, after) == []
    with pytest.raises(FencedError) as refused:
        await worker_bus.append(subject, batch(2), sequences[-1])
    assert refused.value.attempt == 0


async def test_lost_log_goes_on(
    worker_bus: Bus, gateway_bus: Bus, turn: str, subject: str, lose_logs: LoseLogs
) -> None:
    """A log that was lost takes any number behind nothing, with a new sequence; who listens hears it, or of a gap."""
    async with gateway_bus.tail(subjects.live(DEFAULT_TENANT, turn)) as tail:
        await subscribed(gateway_bus)
        sequences = await append(worker_bus, subject, 2)
        assert [await tail.next(SOON) for _ in sequences]
        await lose_logs()
        last = await worker_bus.append(subject, batch(2), 0)
        assert last > sequences[-1]
        assert await tail.next(SOON) in (None, Stored(last, batch(2)))
    assert await read(gateway_bus, subject) == [Stored(last, batch(2))]
