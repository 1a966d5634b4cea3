"""What a reader does not hear live: it is read from the stream, however far a replica is behind."""

import asyncio

import pytest
from support.relay import QUICK, Writer, read

from turnstream.bus.tail import TAIL_LIMIT
from turnstream.errors import BusUnavailableError
from turnstream_gateway import relay as relay_module

pytestmark = pytest.mark.usefixtures("no_pause_between_reads")


@pytest.mark.parametrize("dropped", [1, 2, 5])
@pytest.mark.parametrize("place", [0, 1, 2])
async def test_gap_is_healed(dropped: int, place: int) -> None:
    """Batches that were not heard live are read from the stream as soon as a later one is heard."""
    writer = Writer()
    async with writer.relay() as relay:
        reading = asyncio.create_task(read(relay, new=True))
        for _ in range(place):
            await writer.write(2)
        writer.bus.dropped_live = dropped
        for _ in range(dropped):
            await writer.write(3)
        await writer.write(last=True)
        assert await reading == list(range(2 * place + 3 * dropped + 1))


async def test_dropped_end_is_found_in_the_silence() -> None:
    """An end that was not heard live is read from the stream once it is silent."""
    writer = Writer()
    async with writer.relay(keepalive=QUICK) as relay:
        await writer.write(2)
        writer.bus.dropped_live = 1
        await writer.write(last=True)
        assert await read(relay, new=True) == [0, 1, 2]


async def test_overflown_tail_is_healed() -> None:
    """A reader that fell far behind goes on with the stream, without a gap."""
    writer = Writer()
    async with writer.relay() as relay:
        for _ in range(TAIL_LIMIT + 10):
            await writer.write()
        await writer.write(last=True)
        assert await read(relay, new=True) == list(range(TAIL_LIMIT + 11))


@pytest.mark.parametrize("stale", [1, 5])
async def test_replica_that_is_behind(stale: int) -> None:
    """A replica that lacks what was heard live is asked again until it has it."""
    writer = Writer()
    async with writer.relay() as relay:
        reading = asyncio.create_task(read(relay, new=True))
        writer.bus.dropped_live = 1
        await writer.write(2)
        writer.bus.stale_replays = stale
        await writer.write(2, last=True)
        assert await reading == [0, 1, 2, 3]


async def test_replica_that_stays_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that never has what it republished ends the reading, so that the client comes back elsewhere."""
    monkeypatch.setattr(relay_module, "CATCH_UP_TRIES", 3)
    writer = Writer()
    async with writer.relay() as relay:
        writer.bus.dropped_live = 1
        await writer.write()
        await writer.write()
        writer.bus.stale_replays = 3
        with pytest.raises(BusUnavailableError):
            await read(relay, new=True)


async def test_stale_replica_at_the_start() -> None:
    """A reader whose first reading came from a replica that is behind gets the rest all the same."""
    writer = Writer()
    await writer.write(2)
    await writer.write(2, last=True)
    async with writer.relay(keepalive=QUICK) as relay:
        writer.bus.stale_replays = 1
        assert await read(relay) == [0, 1, 2, 3]
