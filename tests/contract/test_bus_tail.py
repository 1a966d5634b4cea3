"""The live tail of a log, on either bus."""

import asyncio

import pytest
from support.bus_log import SOON, append, batch, read, subscribed

from turnstream import subjects
from turnstream.bus import Bus, Stored
from turnstream.bus.tail import TAIL_LIMIT
from turnstream.subjects import DEFAULT_TENANT


async def test_tail_follows(worker_bus: Bus, gateway_bus: Bus, turn: str, subject: str) -> None:
    """The tail delivers what is appended, in order, each with its sequence in the stream."""
    async with gateway_bus.tail(subjects.live(DEFAULT_TENANT, turn)) as tail:
        await subscribed(gateway_bus)
        sequences: list[int] = []
        for number in range(5):
            sequences.append(await worker_bus.append(subject, batch(number), sequences[-1] if sequences else 0))
            await append(worker_bus, f"{subject}-{number}", 1)
        heard = [await tail.next(SOON) for _ in sequences]
    assert heard == [Stored(sequence, batch(number)) for number, sequence in enumerate(sequences)]


async def test_silent_tail_times_out(gateway_bus: Bus, turn: str) -> None:
    """A tail on which nothing comes says so after the time that it was given."""
    async with gateway_bus.tail(subjects.live(DEFAULT_TENANT, turn)) as tail:
        with pytest.raises(TimeoutError):
            await tail.next(0.01)


async def test_tail_can_be_woken(gateway_bus: Bus, turn: str) -> None:
    """A tail that is woken says so by None, once."""
    async with gateway_bus.tail(subjects.live(DEFAULT_TENANT, turn)) as tail:
        tail.wake()
        assert await tail.next(SOON) is None
        with pytest.raises(TimeoutError):
            await tail.next(0.01)


async def test_tail_overflows(worker_bus: Bus, gateway_bus: Bus, turn: str, subject: str) -> None:
    """A reader that falls behind loses its tail, is told so once, and finds all of it in the log."""
    async with gateway_bus.tail(subjects.live(DEFAULT_TENANT, turn)) as tail:
        await subscribed(gateway_bus)
        sequences = await append(worker_bus, subject, 2 * TAIL_LIMIT)
        assert await tail.next(SOON) is None
        assert [stored.sequence for stored in await read(gateway_bus, subject)] == sequences
        last = await worker_bus.append(subject, batch(len(sequences)), sequences[-1])
        async with asyncio.timeout(SOON):
            while (heard := await tail.next(SOON)) is None or heard.sequence < last:
                pass
        assert heard == Stored(last, batch(len(sequences)))
