"""One reader of one turn: whatever is lost on the way to it, it gets every event once and in order."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from support.turns import SUBJECT

from turnstream.bus.tail import TAIL_LIMIT
from turnstream.errors import BusUnavailableError, EventsExpiredError, EventsLostError
from turnstream.events import Batch, decode, encode
from turnstream.memory import MemoryBus
from turnstream_gateway import relay as relay_module
from turnstream_gateway.relay import Relay

SOON = 5  # seconds
NEVER = 60  # seconds; a silence that no test waits for
QUICK = 0.01  # seconds; one that a test does wait for


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A replica that is behind is asked again at once."""
    monkeypatch.setattr(relay_module, "CATCH_UP_PAUSE", 0)


def _always(closed: bool) -> Callable[[], Awaitable[bool]]:
    """Say whether a turn is closed."""

    async def answer() -> bool:
        return closed

    return answer


class Writer:
    """A turn's log as a test writes it."""

    def __init__(self) -> None:
        self.bus = MemoryBus()
        self._attempt = 1
        self._sequence = 0
        self._number = 0

    async def write(self, count: int = 1, *, last: bool = False) -> None:
        """Append a batch of so many events, the last of them terminal if it is to be."""
        kinds = ["response.x"] * count
        if last:
            kinds[-1] = "response.completed"
        lines = [encode(kind, self._number + i, {"response": {"id": 1}}) for i, kind in enumerate(kinds)]
        self._sequence = await self.bus.append(SUBJECT, Batch(self._attempt, self._number, lines), self._sequence)
        self._number += count

    async def take_over(self) -> None:
        """Go on as another attempt, behind its mark."""
        self._attempt += 1
        await self.write(0)

    async def lose(self, *, first: int) -> None:
        """Lose all that was written, and write it again from an event on, in one batch."""
        self.bus.lose_logs()
        self._sequence, count, self._number = 0, self._number - first, first
        if count:
            await self.write(count)

    async def begin_again(self) -> None:
        """Begin again as another attempt that has found an empty log."""
        self._number = 0
        await self.take_over()

    def follow(self, sequence: int) -> None:
        """Go on behind a batch that another has stored."""
        self._sequence = sequence

    async def write_all(self) -> None:
        """Append ten events in several batches, among them an empty one, and the last a terminal one."""
        for count in (1, 3, 0, 1, 2, 2):
            await self.write(count)
        await self.write(last=True)

    def relay(self, keepalive: float = NEVER, *, closed: bool = False) -> Relay:
        """Return a reader."""
        return Relay(self.bus, "default", "resp_1", keepalive=keepalive, closed=_always(closed))


def numbers(lines: list[bytes]) -> list[int]:
    """Return the numbers of some events."""
    return [decode(line)["sequence_number"] for line in lines]


async def read(relay: Relay, after: int = -1, *, new: bool = False) -> list[int]:
    """Read to the end, and return the numbers of all events."""
    async with asyncio.timeout(SOON):
        return [number async for lines in relay.lines(after, new=new) for number in numbers(lines)]


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


# A log that is lost


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


async def to_the_end(lines: AsyncIterator[list[bytes]]) -> None:
    """Read on to the end."""
    async with asyncio.timeout(SOON):
        async for _ in lines:
            pass


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
