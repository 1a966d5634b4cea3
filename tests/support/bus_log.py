"""A log on a bus, as it is written and read."""

from contextlib import aclosing

from turnstream import subjects
from turnstream.bus import Bus, Stored
from turnstream.events import Batch, encode
from turnstream.subjects import DEFAULT_TENANT

SOON = 5  # seconds within which what is to come comes


def batch(first: int, count: int = 1, *, attempt: int = 1, size: int = 1) -> Batch:
    """Make a batch of events with `size` characters of text each."""
    lines = [encode("response.output_text.delta", first + i, {"delta": "x" * size}) for i in range(count)]
    return Batch(attempt, first, lines)


async def append(bus: Bus, subject: str, count: int) -> list[int]:
    """Append so many batches of one event to an empty log, and return their stream sequences."""
    sequences = [0]
    for number in range(count):
        sequences.append(await bus.append(subject, batch(number), sequences[-1]))
    return sequences[1:]


async def read(bus: Bus, subject: str, after: int = 0) -> list[Stored]:
    """Return what a log holds behind a stream sequence."""
    async with aclosing(bus.replay(subject, after)) as replay:
        return [stored async for stored in replay]


async def subscribed(bus: Bus) -> None:
    """Wait until a bus's subscriptions stand: the server answers a connection's requests in their order."""
    await read(bus, subjects.events(DEFAULT_TENANT, "none"))
