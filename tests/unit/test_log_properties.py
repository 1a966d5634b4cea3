"""Whatever is lost, repeated, fenced or wiped on the way: every reader gets the same events, once, to one end.

A machine of hypothesis writes a turn's log by several attempts on the bus in memory, orders faults, and lets readers
come, dawdle, go and come back. The time is a fake one, so that every run of the same steps is the same run.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from unittest.mock import patch

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from support.fake_clock import FakeClock
from support.turns import SUBJECT, a_turn

from turnstream import memory
from turnstream.bus import Stored
from turnstream.errors import BusUnavailableError, EventsExpiredError, EventsLostError, FencedError
from turnstream.events import TERMINAL, decode
from turnstream.memory import MemoryBus
from turnstream.verify import verify
from turnstream_gateway.relay import Relay
from turnstream_worker import kept_batches
from turnstream_worker.event_log import CheckClaim, EventLog

KEEPALIVE = 15  # seconds of the fake clock, as all that follow
DEADLINE = 3600
RESTARTS = 3  # times that a client follows a turn from the start, before it retrieves the response instead
SOME = 8  # batches
SHORT_TAIL = 4  # batches that may wait for a reader here

COUNTS = st.integers(1, 3)
ANY = st.integers(0, 99)  # of the readers, writers, or events that there are


class RecordingBus(MemoryBus):
    """The bus in memory, with all that it has ever stored."""

    def __init__(self) -> None:
        super().__init__()
        self.history: list[Stored] = []

    def _store(self, subject: str, stored: Stored) -> None:
        self.history.append(stored)
        super()._store(subject, stored)

    def kept(self) -> list[Stored]:
        """Return the turn's log as it is."""
        return list(self._logs[SUBJECT])

    def numbers(self) -> set[int]:
        """Return the numbers of the events that are in the log."""
        return {number for stored in self.kept() for number in range(stored.batch.first, stored.batch.next)}


async def _never() -> bool:
    return False


@dataclass
class Reader:
    """A client: what it has got, over all its connections, and how that ended."""

    bus: RecordingBus
    lines: list[bytes] = field(default_factory=list)
    error: EventsExpiredError | None = None
    gone: bool = False  # whether the event that it asked for then was in the log no more
    restarts: int = 0  # times that it has followed from the start since it could not go on
    came_back: bool = False  # whether what it has came over several connections
    task: asyncio.Task[None] | None = None
    reads: asyncio.Event = field(default_factory=asyncio.Event)  # cleared while it dawdles

    def __post_init__(self) -> None:
        self.reads.set()

    @property
    def ended(self) -> bool:
        """Whether it has the terminal event."""
        return bool(self.lines) and decode(self.lines[-1])["type"] in TERMINAL

    def connect(self, *, new: bool = False) -> None:
        """Come, or come back for what follows."""
        self.task = asyncio.get_running_loop().create_task(self._read_on(new=new))

    async def leave(self) -> None:
        """Go away, wherever in an event's way that is."""
        if self.task:
            self.task.cancel()
            await asyncio.wait([self.task])

    async def _read_on(self, *, new: bool) -> None:
        while not self.ended and self.error is None:
            try:
                await self._read(new=new)
            except BusUnavailableError:
                pass  # the connection has broken
            except EventsLostError as error:
                self._restart(error)
            except EventsExpiredError as error:
                self.error, self.gone = error, len(self.lines) not in self.bus.numbers()
            else:
                if not self.ended:  # there is no more, and it has no end
                    self._restart(EventsLostError())
            new = False

    def _restart(self, error: EventsLostError) -> None:
        self.lines.clear()
        self.restarts += 1
        if self.restarts > RESTARTS:
            self.error = error

    async def _read(self, *, new: bool) -> None:
        self.came_back = bool(self.lines)
        async with Relay(self.bus, "default", "resp_1", keepalive=KEEPALIVE, closed=_never) as relay:
            async for lines in relay.lines(len(self.lines) - 1, new=new):
                self.lines += lines
                await self.reads.wait()


class Turn(RuleBasedStateMachine):
    """A turn, its attempts and its readers, on a bus that loses everything but what it has stored."""

    kept_bytes = kept_batches.KEPT_BYTES

    def __init__(self) -> None:
        super().__init__()
        self.patches = [
            patch.object(memory, "TAIL_LIMIT", SHORT_TAIL),
            patch.object(kept_batches, "KEPT_BYTES", self.kept_bytes),
        ]
        for one in self.patches:
            one.start()
        self.loop = FakeClock()
        self.bus = RecordingBus()
        self.logs: list[EventLog] = []  # one for each attempt, the living one last
        self.claims = 1
        self.claimed = 1  # the last attempt that the store knows of
        self.taking_over: list[asyncio.Task[None]] = []
        self.readers: list[Reader] = []
        self.through: set[EventLog] = set()  # have written or found an end, or have failed, and write nothing more
        self.ended = False
        self.losses = 0
        self.run(self._begin())

    def run[T](self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run something to its end, within a time that is long enough for anything."""
        return self.loop.run_until_complete(asyncio.wait_for(coroutine, DEADLINE))

    # Writers

    @rule(count=COUNTS)
    def write(self, count: int) -> None:
        """The living attempt adds events."""
        if not self.ended:
            self.run(self._write(self.logs[-1], count))

    @precondition(lambda self: len(self.bus.history) > SOME)  # else hardly a turn gets far
    @rule()
    def end(self) -> None:
        """The living attempt ends the turn."""
        if not self.ended:
            self.run(self._end())

    @rule(which=ANY)
    def zombie_writes(self, which: int) -> None:
        """An attempt adds an event that has not found out that it is dead."""
        if zombies := [log for log in self.logs[:-1] if log not in self.through]:
            self.run(self._write(zombies[which % len(zombies)], 1))

    @rule(count=st.integers(0, 2), late=st.booleans())
    def take_over(self, count: int, late: bool = False) -> None:
        """So many other attempts begin, the last one late or not; those that began before have the log, or have not."""
        self.run(self._wait_for_takeovers())
        attempts = range(self.claims + 1, self.claims + 1 + count)
        self.claims += count
        for attempt in reversed(attempts) if late else attempts:
            self.run(self._begin_to_take_over(attempt))

    # Faults

    @rule(count=COUNTS)
    def lose_acks(self, count: int) -> None:
        """The next appends are stored, and their answers are lost."""
        self.bus.lost_acks = count

    @rule(count=COUNTS)
    def drop_live(self, count: int) -> None:
        """The next batches are stored, and not heard live."""
        self.bus.dropped_live = count

    @rule(count=COUNTS)
    def lag(self, count: int) -> None:
        """The next replays are answered by a replica that lacks the last batch."""
        self.bus.stale_replays = count

    @rule(which=ANY, count=COUNTS)
    def hear_again(self, which: int, count: int) -> None:
        """Batches that were stored at any time are heard now, again or for the first time."""
        for stored in self.bus.history[which % max(1, len(self.bus.history)) :][:count]:
            for tail in self.bus.tails[SUBJECT.replace("events", "live")]:
                tail.arrive(stored)

    # Readers

    @rule()
    def join(self) -> None:
        """Another reader comes."""
        self.run(self._join())

    @rule(which=ANY)
    def dawdle(self, which: int) -> None:
        """A reader stops reading, or goes on."""
        reads = self.readers[which % len(self.readers)].reads
        if reads.is_set():
            reads.clear()
        else:
            reads.set()

    @rule(which=ANY, having=ANY)
    def come_back(self, which: int, having: int) -> None:
        """A reader goes and comes back, to another gateway, with as many of its events as it has not forgotten."""
        self.run(self._come_back(self.readers[which % len(self.readers)], having))

    @rule(rounds=st.integers(1, 5))
    def go_on(self, rounds: int) -> None:
        """Everybody goes on for a while."""
        self.run(self._go_on(rounds))

    @rule()
    def time_passes(self) -> None:
        """It is silent for long enough that readers look into the stream."""
        self.run(asyncio.sleep(2 * KEEPALIVE))

    # What must hold at the end

    def teardown(self) -> None:
        """Bring the turn to its end, as a next attempt does if need be, wait for all readers, and compare."""
        try:
            self.take_over(1)
            self.run(self._wait_for_takeovers())
            self.run(self._finish())
            self.check_fences()
            self.check()
        finally:
            self.run(self._leave())
            self.loop.close()
            for one in self.patches:
                one.stop()

    def check_fences(self) -> None:
        """No attempt has written anything behind a later one, whatever was lost of that."""
        attempts = [stored.batch.attempt for stored in self.bus.history]
        assert attempts == sorted(attempts)

    def check(self) -> None:
        """Every reader has the log as it is: numbers from 0 on, one end, at the end, and the digest proves it."""
        assert self.bus.kept()[-1].batch.lines
        lines = [line for stored in self.bus.kept() for line in stored.batch.lines]
        events = [decode(line) for line in lines]
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        assert [event["type"] in TERMINAL for event in events] == [False] * (len(events) - 1) + [True]
        attempts = [event["attempt"] for event in events]
        assert attempts == sorted(attempts)
        for reader in self.readers:
            assert (reader.error, reader.restarts) == (None, 0)
            assert reader.lines == lines
            assert verify(reader.lines).digest is not None

    # How it is done

    async def _begin(self) -> None:
        self.logs.append(EventLog(self.bus, a_turn(), self._check_claim_of(1)))
        await self._join(new=True)
        await self._write(self.logs[0], 1)
        await self.logs[0].flush()  # else a later attempt's log looks like one that was lost

    async def _write(self, log: EventLog, count: int) -> None:
        try:
            for _ in range(count):
                log.append("response.x", attempt=log._attempt)
        except FencedError:
            self.through.add(log)

    async def _end(self) -> None:
        self.logs[-1].end("response.completed", attempt=self.logs[-1]._attempt)
        self.through.add(self.logs[-1])
        self.ended = True

    async def _begin_to_take_over(self, attempt: int) -> None:
        self.claimed = max(self.claimed, attempt)
        self.taking_over.append(asyncio.create_task(self._take_over(attempt)))

    async def _take_over(self, attempt: int) -> None:
        with suppress(FencedError):
            log, state = await EventLog.take_over(self.bus, a_turn(attempt=attempt), self._check_claim_of(attempt))
            self.logs += [log]
            self.ended = state.ended  # what the one before has not stored by now, it never will
            if state.ended:
                self.through.add(log)

    def _check_claim_of(self, attempt: int) -> CheckClaim:
        async def check_claim() -> None:
            if attempt < self.claimed:
                raise FencedError(f"attempt {attempt} is not the last")

        return check_claim

    async def _wait_for_takeovers(self) -> None:
        await asyncio.gather(*self.taking_over)
        self.taking_over.clear()

    async def _join(self, *, new: bool = False) -> None:
        self.readers.append(Reader(self.bus))
        self.readers[-1].connect(new=new)

    async def _come_back(self, reader: Reader, having: int) -> None:
        await reader.leave()
        del reader.lines[having:]
        reader.connect()

    async def _go_on(self, rounds: int) -> None:
        for _ in range(rounds):
            await asyncio.sleep(0)

    async def _finish(self) -> None:
        if not self.ended:
            await self._end()
        await self.logs[-1].flush()
        for reader in self.readers:
            reader.reads.set()
        await asyncio.gather(*(reader.task for reader in self.readers if reader.task))

    async def _leave(self) -> None:
        for reader in self.readers:
            await reader.leave()


class LostTurn(Turn):
    """The same on a bus that loses what it has stored as well, while a writer lives."""

    @precondition(lambda self: not (self.ended or self.taking_over))
    @rule(keep=st.integers(0, 9))
    def lose(self, keep: int) -> None:
        """The end of the log is lost, or all of it, and the living attempt goes on."""
        self.run(self._lose(keep))

    async def _lose(self, keep: int) -> None:
        for log in self.logs:  # those that are fenced learn it
            with suppress(FencedError):
                await log.flush()
        self.losses += 1
        self.bus.lose_logs(keep)
        await self._write(self.logs[-1], 1)
        await self.logs[-1].flush()
        self.check_what_is_left(self.logs[-1]._attempt)

    def check_what_is_left(self, attempt: int) -> None:
        """The log has all that the living attempt has ever stored, and nothing twice."""
        batches = [stored.batch for stored in self.bus.kept()]
        assert all(batch.next <= following.first for batch, following in pairwise(batches))
        assert all(
            stored.batch in batches
            for stored in self.bus.history
            if stored.batch.attempt == attempt and stored.batch.lines
        )

    def check(self) -> None:
        """Who has not missed what is gone for good has all events, once, in order, and proven by the digest."""
        ended = [reader for reader in self.readers if reader.ended]
        for reader in self.readers:
            assert reader.restarts == 0
            assert reader.ended or reader.gone
        for reader in ended:
            assert reader.lines == ended[0].lines
            verify(reader.lines)
        if not self.losses:
            super().check()


class TornTurn(Turn):
    """The same where what is stored may be lost at any time, and writers keep little."""

    kept_bytes = 300

    @rule(begun_again=st.booleans())
    def lose(self, begun_again: bool) -> None:
        """All of the log is lost, and nobody knows yet; or another attempt is the first to."""
        self.losses += 1
        self.bus.lose_logs()
        if begun_again:
            self.take_over(1)
            self.take_over(0)

    def check(self) -> None:
        """Nobody has a mixture, but who came back with numbers of a log that was lost; the digest may tell those.

        Whatever a reader has, an attempt goes on in it where it has marked that it does.
        """
        marks = {(stored.batch.attempt, stored.batch.first) for stored in self.bus.history}
        for reader in self.readers:
            assert reader.ended or reader.error
            if reader.ended and not reader.came_back:
                verify(reader.lines)
                attempts = [decode(line)["attempt"] for line in reader.lines]
                for number, (before, after) in enumerate(pairwise(attempts), start=1):
                    assert before == after or (before < after and (after, number) in marks)
        if not self.losses:
            super().check()


TestTurn = Turn.TestCase
TestLostTurn = LostTurn.TestCase
TestTornTurn = TornTurn.TestCase
TestTurn.settings = TestLostTurn.settings = TestTornTurn.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None, derandomize=True
)
