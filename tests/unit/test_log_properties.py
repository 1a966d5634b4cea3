"""Whatever is lost, repeated or fenced on the way: every reader gets the same events, once, in order, to one end."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from unittest.mock import patch

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.turns import a_turn, events_of

from turnstream.errors import FencedError
from turnstream.events import TERMINAL, decode
from turnstream.memory import MemoryBus
from turnstream_gateway import relay as relay_module
from turnstream_gateway.relay import Relay
from turnstream_worker.event_log import EventLog

DEADLINE = 10  # seconds for one history
KEEPALIVE = 0.002  # seconds

# What can happen to a turn, one step after another. A number is a count, or says which reader or writer it is about.
STEPS = st.one_of(
    st.tuples(st.just("write"), st.integers(1, 3)),
    st.tuples(st.just("zombie_writes"), st.integers(0, 9)),
    st.tuples(st.just("take_over"), st.just(0)),
    st.tuples(st.just("lose_acks"), st.integers(1, 2)),
    st.tuples(st.just("drop_live"), st.integers(1, 3)),
    st.tuples(st.just("lag"), st.integers(1, 2)),
    st.tuples(st.just("join"), st.integers(0, 1)),
    st.tuples(st.just("leave"), st.integers(0, 9)),
    st.tuples(st.just("wait"), st.integers(1, 4)),
    st.tuples(st.just("end"), st.just(0)),
)


@dataclass
class Reader:
    """A client: what it has got, over all its connections."""

    bus: MemoryBus
    lines: list[bytes] = field(default_factory=list)
    task: asyncio.Task[None] | None = None

    def connect(self) -> None:
        """Come, or come back for what follows."""
        self.task = asyncio.create_task(self._read())

    async def leave(self) -> None:
        """Go away, wherever in an event's way that is."""
        if self.task:
            self.task.cancel()
            await asyncio.wait([self.task])

    async def _read(self) -> None:
        async with Relay(self.bus, "default", "resp_1", keepalive=KEEPALIVE) as relay:
            async for lines in relay.lines(len(self.lines) - 1):
                self.lines += lines


@dataclass
class World:
    """A turn, its attempts and its readers."""

    bus: MemoryBus = field(default_factory=MemoryBus)
    logs: list[EventLog] = field(init=False)  # one for each attempt, the living one last
    readers: list[Reader] = field(default_factory=list)
    through: set[int] = field(default_factory=set)  # those that have written or found an end, and write nothing more
    ended: bool = False

    def __post_init__(self) -> None:
        self.logs = [EventLog(self.bus, a_turn())]

    async def write(self, count: int) -> None:
        """The living attempt adds events."""
        if not self.ended:
            for _ in range(count):
                self.logs[-1].append("response.x", attempt=len(self.logs))

    async def zombie_writes(self, which: int) -> None:
        """An attempt adds an event that has not found out that it is dead."""
        attempt = which % len(self.logs)
        if attempt < len(self.logs) - 1 and attempt not in self.through:
            with suppress(FencedError):
                self.logs[attempt].append("response.x", attempt=attempt + 1)

    async def take_over(self, _: int = 0) -> None:
        """Another attempt begins, while the one before goes on."""
        log, state = await EventLog.take_over(self.bus, a_turn(attempt=len(self.logs) + 1))
        self.logs.append(log)
        self.ended = state.ended  # what the one before has not stored by now, it never will
        if state.ended:
            self.through.add(len(self.logs) - 1)

    async def end(self, _: int = 0) -> None:
        """The living attempt ends the turn."""
        if not self.ended:
            self.logs[-1].append("response.completed", attempt=len(self.logs))
            self.through.add(len(self.logs) - 1)
            self.ended = True

    async def lose_acks(self, count: int) -> None:
        """The next appends are stored, and their answers are lost."""
        self.bus.lost_acks = count

    async def drop_live(self, count: int) -> None:
        """The next batches are stored, and not heard live."""
        self.bus.dropped_live = count

    async def lag(self, count: int) -> None:
        """The next replays are answered by a replica that lacks the last batch."""
        self.bus.stale_replays = count

    async def join(self, _: int = 0) -> None:
        """Another reader comes."""
        self.readers.append(Reader(self.bus))
        self.readers[-1].connect()

    async def leave(self, which: int) -> None:
        """A reader goes and comes back."""
        reader = self.readers[which % len(self.readers)]
        await reader.leave()
        reader.connect()

    async def wait(self, rounds: int) -> None:
        """Everybody goes on for a while."""
        for _ in range(rounds):
            await asyncio.sleep(0)

    async def finish(self) -> None:
        """Bring the turn to its end, as the next attempt does if need be, and wait for all readers."""
        await self.take_over()
        await self.end()
        await self.logs[-1].flush()
        await asyncio.gather(*(reader.task for reader in self.readers if reader.task))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=st.lists(STEPS, max_size=30))
async def test_every_reader_gets_the_same(steps: list[tuple[str, int]]) -> None:
    """Over any history of a turn, every reader gets the log as it is: numbers from 0 on, and one end, at the end."""
    with patch.object(relay_module, "CATCH_UP_PAUSE", 0):
        world = World()
        try:
            async with asyncio.timeout(DEADLINE):
                await world.join()
                for happens, number in steps:
                    await getattr(world, happens)(number)
                await world.finish()
        finally:
            await asyncio.gather(*(reader.leave() for reader in world.readers))
    world.bus.stale_replays = 0
    events = await events_of(world.bus)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] in TERMINAL for event in events] == [False] * (len(events) - 1) + [True]
    attempts = [event["attempt"] for event in events]
    assert attempts == sorted(attempts)
    for reader in world.readers:
        assert [decode(line) for line in reader.lines] == events
