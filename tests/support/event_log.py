"""How a test writes a turn's log, and what then stands in it."""

import asyncio
from typing import Any

from support.turns import SUBJECT, batches_of, events_of
from turnstream.memory import MemoryBus
from turnstream_worker.event_log import EventLog

SOON = 5  # seconds


def add(log: EventLog, count: int, **fields: Any) -> None:
    """Append so many events."""
    for _ in range(count):
        log.append("response.x", **fields)


async def flush(log: EventLog) -> None:
    """Flush a log within a time."""
    async with asyncio.timeout(SOON):
        await log.flush()


async def numbers(bus: MemoryBus) -> list[int]:
    """Return the numbers of the log's events, in its order."""
    return [event["sequence_number"] for event in await events_of(bus)]


async def lines_of(bus: MemoryBus) -> list[bytes]:
    """Return the lines of the log."""
    return [line async for stored in bus.replay(SUBJECT, 0) for line in stored.batch.lines]


async def sizes(bus: MemoryBus) -> list[int]:
    """Return the sizes of the log's batches."""
    return [len(batch) for batch in await batches_of(bus)]
