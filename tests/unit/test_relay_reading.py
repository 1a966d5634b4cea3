"""One reader of one turn: whenever it comes, it gets every event once and in order, and then ends."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from support.relay import QUICK, SOON, Writer, numbers, read
from support.turns import SUBJECT

from turnstream.errors import BusUnavailableError, EventsExpiredError
from turnstream.events import Batch, encode


async def test_new_turn() -> None:
    """A reader who was there before the turn gets all of it live, without reading the stream, and then ends."""
    writer = Writer()
    async with writer.relay() as relay:
        await writer.write_all()
        writer.bus.away = 1  # for whoever reads the stream
        assert await read(relay, new=True) == list(range(10))


async def test_ended_turn() -> None:
    """A reader who comes after the end gets all of it from the stream, and then ends."""
    writer = Writer()
    await writer.write_all()
    async with writer.relay() as relay:
        assert await read(relay) == list(range(10))


@pytest.mark.parametrize("after", range(-1, 10))
@pytest.mark.parametrize("live", [False, True])
async def test_coming_back(after: int, live: bool) -> None:
    """A reader who comes back gets what follows the last event that it has, wherever in a batch that stood."""
    writer = Writer()
    async with writer.relay() as relay:
        if live:
            reading = asyncio.create_task(read(relay, after))
            await writer.write_all()
            assert await reading == list(range(after + 1, 10))
        else:
            await writer.write_all()
            assert await read(relay, after) == list(range(after + 1, 10))


async def test_nothing_falls_between_the_stream_and_the_tail() -> None:
    """What is stored while the stream is being read comes once, whether the reading still saw it or not."""
    writer = Writer()
    await writer.write(2)
    seen: list[int] = []
    async with writer.relay() as relay, asyncio.timeout(SOON):
        await writer.write(2)  # heard by the tail, and in the stream
        async for lines in relay.lines():
            if not seen:
                await writer.write(2)
                await writer.write(last=True)
            seen += numbers(lines)
    assert seen == list(range(7))


async def test_signs_of_life() -> None:
    """A silent turn gives signs of life, again and again, and its events still come behind them."""
    writer = Writer()
    async with writer.relay(keepalive=QUICK) as relay, asyncio.timeout(SOON):
        lines = relay.lines(new=True)
        assert [await anext(lines) for _ in range(3)] == [[], [], []]
        await writer.write(1, last=True)
        assert [numbers(some) async for some in lines if some] == [[0]]


async def test_bus_away() -> None:
    """A stream that cannot be read ends the reading with an error, and not as if the turn had ended."""
    writer = Writer()
    async with writer.relay() as relay:
        writer.bus.away = 1
        with pytest.raises(BusUnavailableError):
            await read(relay)


@pytest.mark.parametrize("new", [False, True])
async def test_stopping(new: bool) -> None:
    """A reader that is stopped while it waits ends at once, with the turn still open."""
    writer = Writer()
    async with writer.relay() as relay:
        reading = asyncio.create_task(read(relay, new=new))
        await writer.write(2)
        done, _ = await asyncio.wait([reading], timeout=QUICK)
        assert not done
        relay.stop()
        assert await reading == [0, 1]


async def test_leaving() -> None:
    """A reader that leaves is no longer delivered to."""
    writer = Writer()
    async with writer.relay() as relay:
        await writer.write()
    await writer.write()
    assert not any(writer.bus.tails.values())
    assert relay.turn == "resp_1"


async def test_many_readers() -> None:
    """Readers that come at any time, from any event, all get the same."""
    writer = Writer()

    async def late(after: int) -> list[int]:
        async with writer.relay() as relay:
            return await read(relay, after)

    readers: list[tuple[int, asyncio.Task[list[int]]]] = []
    steps: list[Callable[[], Awaitable[None]]] = [writer.write] * 5 + [lambda: writer.write(last=True)]
    for step in steps:
        readers += [(after, asyncio.create_task(late(after))) for after in (-1, 0, 3)]
        await step()
    for after, reader in readers:
        assert await reader == list(range(after + 1, 6))


@pytest.mark.parametrize("kind", ["response.completed", "response.failed", "response.incomplete"])
async def test_response(kind: str) -> None:
    """The response of a turn is what its terminal event carries, whichever that is, over a silence too."""
    writer = Writer()
    async with writer.relay(keepalive=QUICK) as relay:
        asking = asyncio.create_task(relay.response())
        await asyncio.wait([asking], timeout=3 * QUICK)
        await writer.bus.append(SUBJECT, Batch(1, 0, [encode(kind, 0, {"response": {"status": kind}})]), 0)
        async with asyncio.timeout(SOON):
            assert await asking == {"status": kind}


@pytest.mark.parametrize("count", [0, 3])
async def test_log_without_an_end(count: int) -> None:
    """A reader of a log that will have no last event is told so behind what is there, and does not wait."""
    writer = Writer()
    if count:
        await writer.write(count)
    async with asyncio.timeout(SOON), writer.relay(closed=True) as relay:
        reading = relay.lines()
        if count:
            assert numbers(await anext(reading)) == list(range(count))
        with pytest.raises(EventsExpiredError):
            await anext(reading)
