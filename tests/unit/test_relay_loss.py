"""A reader whose log is lost: it goes on without a gap, or is told what is gone."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from support.relay import QUICK, SOON, Writer, numbers, read
from support.turns import SUBJECT

from turnstream.errors import EventsExpiredError, EventsLostError
from turnstream.events import Batch, encode

pytestmark = pytest.mark.usefixtures("no_pause_between_reads")


async def to_the_end(lines: AsyncIterator[list[bytes]]) -> None:
    """Read on to the end."""
    async with asyncio.timeout(SOON):
        async for _ in lines:
            pass


async def test_log_is_lost_and_goes_on() -> None:
    """A reader whose log is lost, and written again from somewhere on by its writer, goes on without noticing."""
    writer = Writer()
    async with writer.relay(keepalive=QUICK) as relay:
        reading = asyncio.create_task(read(relay, new=True))
        await writer.write(4)
        await asyncio.sleep(0)
        await writer.lose(first=2)
        await writer.write(2, last=True)
        assert await reading == list(range(6))


@pytest.mark.parametrize("live", [False, True])
async def test_reader_who_is_behind_when_the_log_is_lost(live: bool) -> None:
    """A reader who had not got all that was lost gets it from what was written again, live or later."""
    writer = Writer()
    async with writer.relay(keepalive=QUICK) as relay:
        lines = relay.lines(new=True)
        await writer.write(2)
        assert numbers(await anext(lines)) == [0, 1]
        writer.bus.dropped_live = 1
        await writer.write(2)
        writer.bus.dropped_live = 0 if live else 100
        await writer.lose(first=1)
        await writer.write(last=True)
        async with asyncio.timeout(SOON):
            assert [number async for some in lines for number in numbers(some)] == [2, 3, 4]


async def test_log_is_lost_while_it_is_read() -> None:
    """A reader who is reading a log when it loses its end, which is written again at other places, gets all of it."""
    writer = Writer()
    await writer.write()
    await writer.take_over()
    for _ in range(3):
        await writer.write()
    async with writer.relay(keepalive=QUICK) as relay, asyncio.timeout(SOON):
        lines = relay.lines()
        assert [numbers(await anext(lines)) for _ in range(2)] == [[0], [1]]
        writer.bus.lose_logs(keep=1)
        for sequence, number in enumerate(range(1, 5), start=1):
            kind = "response.completed" if number == 4 else "response.x"
            await writer.bus.append(SUBJECT, Batch(2, number, [encode(kind, number, {})]), sequence)
        assert [number async for some in lines for number in numbers(some)] == [2, 3, 4]


async def test_events_are_gone_for_good() -> None:
    """A reader whose next event was lost is told so, and not given those behind it."""
    writer = Writer()
    async with writer.relay(keepalive=QUICK) as relay:
        lines = relay.lines(new=True)
        await writer.write(2)
        assert numbers(await anext(lines)) == [0, 1]
        writer.bus.dropped_live = 1
        await writer.write(2)
        await writer.lose(first=3)
        with pytest.raises(EventsExpiredError) as gone:
            await to_the_end(lines)
    assert gone.value.code == "events_expired"


async def test_turn_goes_on_before_where_its_reader_is() -> None:
    """A reader of a log that lost its end, and that another attempt goes on with from there, is told so."""
    writer = Writer()
    async with writer.relay(keepalive=QUICK) as relay:
        lines = relay.lines(new=True)
        for number in range(3):
            await writer.write()
            assert numbers(await anext(lines)) == [number]
        writer.bus.lose_logs(keep=1)
        mark = await writer.bus.append(SUBJECT, Batch(2, 1, []), 1)
        await writer.bus.append(SUBJECT, Batch(2, 1, [encode("response.x", 1, {})]), mark)
        with pytest.raises(EventsLostError):
            await to_the_end(lines)


async def test_turn_is_begun_again_and_is_as_far_as_before() -> None:
    """A reader who hears of a turn that was begun again only when it has come to the number that is due is told so."""
    writer = Writer()
    async with writer.relay() as relay:
        lines = relay.lines(new=True)
        await writer.write(3)
        assert numbers(await anext(lines)) == [0, 1, 2]
        await writer.lose(first=3)
        reading = asyncio.create_task(to_the_end(lines))
        await asyncio.wait([reading], timeout=QUICK)  # it has found the log empty
        writer.bus.dropped_live = 2
        await writer.begin_again()
        await writer.write(3)
        await writer.write(2)
        with pytest.raises(EventsLostError):
            await reading


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("count", [0, 1, 3, 5])
async def test_turn_is_begun_again(live: bool, count: int) -> None:
    """A reader of a turn that another attempt begins again, since all was lost, is told so, however far that is."""
    writer = Writer()
    async with writer.relay(keepalive=QUICK) as relay:
        lines = relay.lines(new=True)
        await writer.write(3)
        assert numbers(await anext(lines)) == [0, 1, 2]
        await writer.lose(first=3)
        writer.bus.dropped_live = 0 if live else 100
        await writer.begin_again()
        await writer.write(count)
        with pytest.raises(EventsLostError) as lost:
            await to_the_end(lines)
    assert lost.value.code == "events_lost"


@pytest.mark.parametrize("after", [-1, 0, 1, 8])
async def test_coming_back_to_a_turn_that_was_begun_again(after: int) -> None:
    """Who comes back with events of a log that was lost is told so; who has none reads the new one."""
    writer = Writer()
    await writer.begin_again()
    await writer.write(3, last=True)
    async with writer.relay() as relay:
        if after < 0:
            assert await read(relay, after) == [0, 1, 2]
        else:
            with pytest.raises(EventsLostError):
                await read(relay, after)


async def test_coming_back_with_more_than_there_is() -> None:
    """Who comes back with more events than the turn has had at its end is told that they were lost."""
    writer = Writer()
    await writer.write(3, last=True)
    async with writer.relay() as relay:
        with pytest.raises(EventsLostError):
            await read(relay, 3)


async def test_fenced_attempt_in_a_lost_log() -> None:
    """What an earlier attempt writes into a log that was lost is none of the reader's, who has a later one's events."""
    writer = Writer()
    async with writer.relay(keepalive=QUICK) as relay:
        lines = relay.lines(new=True)
        await writer.write(2)
        await writer.take_over()
        await writer.write(2)
        assert [numbers(await anext(lines)) for _ in range(2)] == [[0, 1], [2, 3]]
        await writer.lose(first=4)
        zombie = Batch(1, 2, [encode("response.x", number, {}) for number in range(2, 9)])
        writer.follow(await writer.bus.append(SUBJECT, zombie, 0))
        await writer.write(2, last=True)
        async with asyncio.timeout(SOON):
            assert [number async for some in lines for number in numbers(some)] == [4, 5]


async def test_response_of_a_turn_that_was_begun_again() -> None:
    """Whoever waits for a response gets the one of a turn that was begun again."""
    writer = Writer()
    async with writer.relay(keepalive=QUICK) as relay:
        asking = asyncio.create_task(relay.response())
        await writer.write(3)
        await asyncio.sleep(0)
        await writer.lose(first=3)
        await writer.begin_again()
        await writer.write(2, last=True)
        async with asyncio.timeout(SOON):
            assert await asking == {"id": 1}
