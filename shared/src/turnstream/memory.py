"""The bus in memory, for tests: what `Bus` does, in one process and with faults to order.

The contract tests hold it to the real one. It forgets nothing, and bounds nothing but its queue and a slow reader's
tail. Streamed answers it has not: they are all about connections that break.
"""

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Self

import orjson

from turnstream import subjects
from turnstream.bus import Bus, DeadLetters, Delivery, Filed, Stored, Tail, WorkQueue, failures
from turnstream.bus.bus import HEADER_ROOM
from turnstream.bus.tail import TAIL_LIMIT
from turnstream.dead_letter import DeadLetter
from turnstream.errors import (
    ApiError,
    BusUnavailableError,
    EventTooLargeError,
    FencedError,
    QueueFullError,
    TooLargeError,
    TurnError,
)
from turnstream.events import Batch
from turnstream.subjects import Consumer

MAX_PAYLOAD = 1 << 20  # bytes of a message


class MemoryBus(Bus):
    """A bus that lives as long as its process. The attributes without an underscore are faults to order."""

    def __init__(self, *, ack_wait: float = 15) -> None:
        self.away = 0  # requests that are not answered from now on
        self.lost_acks = 0  # appends that are stored, and whose answer is lost
        self.dropped_live = 0  # batches that are stored, and not heard live
        self.stale_replays = 0  # replays that a replica answers which lacks a log's last batch
        self.reachable = asyncio.Event()  # while it is not set, requests wait
        self.reachable.set()
        self.appending = asyncio.Semaphore(1000)  # appends that may be in flight
        self.ack_wait = ack_wait  # seconds until a silent delivery comes again
        self.depth_per_tenant = 1000  # messages that the queue takes of one tenant
        self.depth = 20_000  # messages that it takes in all
        self.dead_letters = _MemoryDeadLetters(self)
        self._queued: list[_Message] = []  # and not settled yet
        self.lanes: dict[str, asyncio.Queue[_Message]] = defaultdict(asyncio.Queue)
        self.tails: dict[str, list[_MemoryTail]] = defaultdict(list)
        self._logs: dict[str, list[Stored]] = defaultdict(list)
        self._sequence = 0  # of the stream that holds all logs
        self._message_ids: set[str] = set()
        self._deliveries: list[_MemoryDelivery] = []
        self._listeners: list[tuple[str, Callable[[str], None]]] = []
        self._endpoints: dict[str, Callable[[Any], Awaitable[Any]]] = {}
        self._present: Counter[str] = Counter()
        self._failed = asyncio.Event()

    async def close(self) -> None:
        """Forget who listens and who serves."""
        self._listeners.clear()
        self._endpoints.clear()

    @property
    def failed(self) -> asyncio.Event:
        """Never set, but by a test."""
        return self._failed

    async def enqueue(self, tenant: str, turn: str, message_id: str, *, patience: float) -> None:  # noqa: ARG002
        """Queue a turn once for each `message_id`."""
        await self.request()
        if message_id in self._message_ids:
            return
        subject = subjects.turns(tenant)
        self._queued = [message for message in self._queued if not message.settled]
        if len(self._queued) >= self.depth:
            raise QueueFullError("the queue is full: maximum messages exceeded")
        if sum(message.subject == subject for message in self._queued) >= self.depth_per_tenant:
            raise QueueFullError("the queue is full: maximum messages per subject exceeded")
        self._message_ids.add(message_id)
        now = asyncio.get_running_loop().time()
        self._queued.append(message := _Message(subject, turn.encode(), now))
        self.put(message)

    def work(self, consumer: Consumer, capacity: int) -> WorkQueue:
        """Return the deliveries of a lane."""
        return _MemoryWorkQueue(self, consumer.name, capacity)

    async def give_back(self, receipt: str) -> None:
        """Let another's delivery come again."""
        await self._deliveries[int(receipt)].nak(0)

    async def waited(self, consumer: Consumer) -> float | None:
        """Return how long the first message of a lane that was never delivered has waited."""
        await self.request()
        lane = f"turns.{consumer.name}."
        undelivered = [one.since for one in self._queued if one.new and one.subject.startswith(lane)]
        return asyncio.get_running_loop().time() - min(undelivered) if undelivered else None

    def deliver(self, message: "_Message") -> Delivery:
        """Make a delivery of a message."""
        message.new = False
        delivery = _MemoryDelivery(self, message, str(len(self._deliveries)))
        self._deliveries.append(delivery)
        return delivery

    @property
    def event_limit(self) -> int:
        """Bytes that an event may have, alone in its batch."""
        return MAX_PAYLOAD - HEADER_ROOM

    async def append(self, subject: str, batch: Batch, expected: int, *, age: int | None = None) -> int:  # noqa: ARG002
        """Store a batch behind `expected`; a lost ack makes it ask again, as the real one does."""
        if len(batch.payload()) > self.event_limit:
            raise EventTooLargeError(f"a batch of {len(batch.payload())} bytes is larger than a message may be")
        await self.request()
        log = self._logs[subject]
        if expected == (log[-1].sequence if log else 0):
            self._sequence += 1
            self._store(subject, Stored(self._sequence, batch))
            if not self.lost_acks:
                return self._sequence
            self.lost_acks -= 1
            await self.request()
        if log and log[-1].batch == batch:
            return log[-1].sequence
        raise FencedError("another attempt has written to the log", attempt=log[-1].batch.attempt if log else 0)

    async def end(self, subject: str) -> Stored | None:
        """Return a log's last batch."""
        await self.request()
        log = self._logs[subject]
        return log[-1] if log else None

    async def replay(self, subject: str, after: int) -> AsyncGenerator[Stored, None]:
        """Yield a log's batches behind stream sequence `after`."""
        await self.request()
        log = self._logs[subject]
        if self.stale_replays:
            self.stale_replays -= 1
            log = log[:-1]
        while stored := next((stored for stored in log if stored.sequence > after), None):
            after = stored.sequence
            yield stored

    def tail(self, subject: str) -> Tail:
        """Return the live tail of a log."""
        return _MemoryTail(self, subject)

    def lose_logs(self, keep: int = 0) -> None:
        """Lose all batches behind stream sequence `keep`, as a server does that comes back on an older disk.

        On an empty one the stream is another, whose sequences go on. Connections break with that, and tails say so.
        """
        for log in self._logs.values():
            log[:] = [stored for stored in log if stored.sequence <= keep]
        self._sequence = min(self._sequence, keep or self._sequence)
        for tail in [tail for tails in self.tails.values() for tail in tails]:
            tail.wake()

    async def signal(self, subject: str) -> None:
        """Call whoever listens now."""
        for pattern, react in tuple(self._listeners):
            if fnmatchcase(subject, pattern):
                react(subject)

    async def on_signal(self, subject: str, react: Callable[[str], None]) -> None:
        """Call `react(subject)` for every signal on `subject`."""
        self._listeners.append((subject, react))

    @asynccontextmanager
    async def present(self, subject: str) -> AsyncIterator[None]:
        """Be present on `subject`."""
        self._present[subject] += 1
        try:
            yield
        finally:
            self._present[subject] -= 1

    async def anyone(self, subject: str) -> bool:
        """Tell whether anybody is present on `subject`."""
        await self.request()
        return self._present[subject] > 0

    async def ask(self, subject: str, within: float, payload: Any = None) -> Any:
        """Return the JSON that a service answers to a payload, or raise its error, copied as on the way."""
        await self.request()
        if len(data := orjson.dumps(payload)) > MAX_PAYLOAD:
            raise TooLargeError(f"The request is larger than {MAX_PAYLOAD} bytes.", code="body_too_large")
        if subject not in self._endpoints:
            raise BusUnavailableError(f"nobody serves {subject}")
        try:
            async with asyncio.timeout(within):
                answer = orjson.dumps(await self._endpoints[subject](orjson.loads(data)))
        except (ApiError, TurnError) as error:
            raise failures.decode(failures.encode(error)) from None
        except TimeoutError as error:
            raise BusUnavailableError(f"no answer on {subject}") from error
        except Exception as error:
            raise BusUnavailableError(f"{subject} failed") from error
        if len(answer) > MAX_PAYLOAD:
            raise BusUnavailableError(f"{subject} failed")
        return orjson.loads(answer)

    async def serve(self, name: str, endpoints: dict[str, Callable[[Any], Awaitable[Any]]]) -> None:
        """Answer `<name>.<endpoint>`."""
        self._endpoints |= {f"{name}.{endpoint}": answer for endpoint, answer in endpoints.items()}

    async def healthy(self) -> bool:
        """Tell whether requests are answered."""
        return not self.away and self.reachable.is_set()

    async def request(self) -> None:
        """Go to the server and back, which lets others go first."""
        await asyncio.sleep(0)
        await self.reachable.wait()
        if self.away:
            self.away -= 1
            raise BusUnavailableError("the bus is away")

    def put(self, message: "_Message") -> None:
        """Put a message into its lane, for the first time or again."""
        self.lanes[message.subject.split(".")[1]].put_nowait(message)

    def _store(self, subject: str, stored: Stored) -> None:
        self._logs[subject].append(stored)
        if self.dropped_live:
            self.dropped_live -= 1
            return
        for tail in self.tails[subject.replace("events.", "live.", 1)]:
            tail.arrive(stored)


class _MemoryTail(Tail):
    """A tail that the bus fills itself; how it waits and breaks is the real one's."""

    def __init__(self, bus: MemoryBus, subject: str) -> None:
        self._tails = bus.tails[subject]
        self._waiting: deque[Stored] = deque()
        self._arrived = asyncio.Event()
        self._broken = False

    async def __aenter__(self) -> Self:
        self._tails.append(self)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._tails.remove(self)

    def arrive(self, stored: Stored) -> None:
        """Take in a batch, or break if too many wait."""
        if len(self._waiting) >= TAIL_LIMIT:
            self.wake()
        else:
            self._waiting.append(stored)
            self._arrived.set()


class _MemoryDeadLetters(DeadLetters):
    def __init__(self, bus: MemoryBus) -> None:
        self._bus = bus
        self._sequence = 0
        self._letters: dict[str, tuple[int, bytes]] = {}  # by their subjects, with their sequences

    async def file(self, letter: DeadLetter) -> None:
        await self._bus.request()
        self._sequence += 1
        self._letters[subjects.dead(letter.tenant, letter.turn)] = (self._sequence, letter.encode())

    async def discard(self, filed: Filed) -> None:
        await self._bus.request()
        self._letters = {subject: kept for subject, kept in self._letters.items() if kept[0] != filed.sequence}

    async def _read(self, subject: str, after: int, limit: int) -> Sequence[Filed]:
        await self._bus.request()
        found = sorted(kept for name, kept in self._letters.items() if fnmatchcase(name, subject) and kept[0] > after)
        return [Filed(sequence, DeadLetter.decode(data)) for sequence, data in found[:limit]]


@dataclass(slots=True)
class _Message:
    subject: str
    data: bytes
    since: float  # when it was queued
    new: bool = True  # whether it was never delivered
    settled: bool = False


class _MemoryWorkQueue(WorkQueue):
    def __init__(self, bus: MemoryBus, lane: str, capacity: int) -> None:
        self._bus = bus
        self._lane = bus.lanes[lane]
        self._room = asyncio.Semaphore(capacity)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def stop(self) -> None:
        """Stop nothing: nothing is asked for ahead."""

    async def give_back(self) -> None:
        """Give nothing back: nothing is delivered before it is taken."""

    async def next(self) -> Delivery:
        await self._room.acquire()
        try:
            while (message := await self._lane.get()).settled:
                pass
        except asyncio.CancelledError:
            self.release()
            raise
        return self._bus.deliver(message)

    def release(self) -> None:
        self._room.release()


class _MemoryDelivery(Delivery):
    def __init__(self, bus: MemoryBus, message: _Message, receipt: str) -> None:
        self._bus = bus
        self._taken = message
        self._receipt = receipt
        self._again = self._in(bus.ack_wait)

    @property
    def data(self) -> bytes:
        return self._taken.data

    @property
    def receipt(self) -> str:
        return self._receipt

    async def ack(self) -> None:
        await self._bus.request()
        self._taken.settled = True
        self._again.cancel()

    async def nak(self, delay: float) -> None:
        self._again.cancel()
        self._again = self._in(delay)

    async def in_progress(self) -> None:
        await self.nak(self._bus.ack_wait)

    def _in(self, seconds: float) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(seconds, self._bus.put, self._taken)
