"""Whatever is lost, repeated or fenced on the way: every reader gets the same events, once, in order, to one end."""

import asyncio
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
HEARTBEAT = 0.002  # seconds

# What can happen to a turn, one step after another. A number is a count, or says which reader or writer it is about.
STEPS = st.one_of(
    st.tuples(st.just("write"), st.integers(1, 3)),
    st.tuples(st.just("zombie_writes"), st.integers(0, 9)),
    st.tuples(st.just("take_over"), st.integers(0, 2)),  # at the third step of the loop from now at the latest
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
        async with Relay(self.bus, "default", "resp_1", heartbeat=HEARTBEAT) as relay:
            async for lines in relay.lines(len(self.lines) - 1):
                self.lines += lines


@dataclass
class World:
    """A turn, its attempts and its readers."""

    bus: MemoryBus = field(default_factory=MemoryBus)
    logs: list[EventLog] = field(default_factory=list)  # one for each attempt, the living one last
    readers: list[Reader] = field(default_factory=list)
    ended: bool = False

    async def begin(self) -> None:
        """Make the first attempt and a reader."""
        self.logs.append(EventLog(self.bus, a_turn()))
        await self.step("join", 0)

    async def step(self, kind: str, number: int) -> None:
        """Let one thing happen."""
        match kind:
            case "write" if not self.ended:
                for _ in range(number):
                    self._write(self.logs[-1], "response.x")
            case "zombie_writes":
                self._write(self.logs[number % len(self.logs)], "response.x", only=self.logs[:-1])
            case "take_over":
                await self._take_over()
            case "lose_acks":
                self.bus.lost_acks = number
            case "drop_live":
                self.bus.dropped_live = number
            case "lag":
                self.bus.stale_replays = number
            case "join":
                self.readers.append(Reader(self.bus))
                self.readers[-1].connect()
            case "leave":
                reader = self.readers[number % len(self.readers)]
                await reader.leave()
                reader.connect()
            case "wait":
                for _ in range(number):
                    await asyncio.sleep(0)
            case "end" if not self.ended:
                self._end()

    async def finish(self) -> None:
        """Bring the turn to its end, as the next attempt does if need be, and wait for all readers."""
        await self._take_over()
        if not self.ended:
            self._end()
        await self.logs[-1].flush()
        await asyncio.gather(*(reader.task for reader in self.readers if reader.task))

    async def _take_over(self) -> None:
        log, state = await EventLog.take_over(self.bus, a_turn(attempt=len(self.logs) + 1))
        self.logs.append(log)
        self.ended = state.ended  # what the one before has not stored by now, it never will

    def _end(self) -> None:
        self._write(self.logs[-1], "response.completed")
        self.ended = True

    def _write(self, log: EventLog, kind: str, only: list[EventLog] | None = None) -> None:
        if only is None or log in only:
            try:
                log.append(kind, attempt=self.logs.index(log) + 1)
            except FencedError:
                assert log is not self.logs[-1]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=st.lists(STEPS, max_size=30))
async def test_every_reader_gets_the_same(steps: list[tuple[str, int]]) -> None:
    """Over any history of a turn, every reader gets the log as it is: numbers from 0 on, and one end, at the end."""
    with patch.object(relay_module, "CATCH_UP_PAUSE", 0):
        async with asyncio.timeout(DEADLINE):
            world = World()
            await world.begin()
            for step in steps:
                await world.step(*step)
            await world.finish()
    events = await events_of(world.bus)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] in TERMINAL for event in events] == [False] * (len(events) - 1) + [True]
    attempts = [event["attempt"] for event in events]
    assert attempts == sorted(attempts)
    for reader in world.readers:
        assert [decode(line) for line in reader.lines] == events
