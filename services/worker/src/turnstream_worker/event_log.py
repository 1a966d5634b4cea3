"""The writer of a turn's log: it numbers and encodes events once, and appends them in order behind a fence.

One append is in flight at a time. What comes meanwhile goes out together in the next one: under light load each token
leaves at once, under heavy load batches grow by themselves.

A log may be lost, or its end, with the disk of its stream, and so may be what a later attempt has written. The store
says who is the last: that one writes again what it has kept, and goes on.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Self

from turnstream import subjects
from turnstream.bus import Bus
from turnstream.digest import LogDigest
from turnstream.errors import EventTooLargeError, FencedError
from turnstream.events import Batch, encode
from turnstream.logs import log
from turnstream.turns import Turn
from turnstream_worker.kept_batches import KeptBatches
from turnstream_worker.log_state import LogState

BATCH_BYTES = 256 << 10  # that a batch of more than one event may have
WAITING_BYTES = 1 << 20  # a writer waits for the bus once so much is waiting
LOSSES = 10  # times that a log may be found lost while one batch is stored

type CheckClaim = Callable[[], Awaitable[None]]
"""Raises FencedError once a later attempt has claimed the turn."""


class EventLog:
    """One attempt's hold on a turn's log. Raises FencedError from any call once a later attempt has taken it."""

    def __init__(
        self, bus: Bus, turn: Turn, check_claim: CheckClaim, *, sequence: int = 0, digest: LogDigest | None = None
    ) -> None:
        self._bus = bus
        self._check_claim = check_claim
        self._turn = turn.id
        self._subject = subjects.events(turn.tenant, turn.id)
        self._attempt = turn.attempt
        self._age = _age(turn)
        self._sequence = sequence  # stream sequence of the log's last batch
        self._digest = digest or LogDigest()  # of all events; their count is the number of the next one
        self._kept = KeptBatches()
        self._lines: list[bytes] = []  # encoded and not sent yet
        self._waiting = 0  # bytes of them
        self._sender: asyncio.Task[None] | None = None
        self._error: Exception | None = None

    @classmethod
    async def take_over(cls, bus: Bus, turn: Turn, check_claim: CheckClaim) -> tuple[Self, LogState]:
        """Fence off earlier attempts; return the log to go on with, and what they left in it.

        The fence is an empty batch at the end of the log. Until it stands, an earlier attempt may still append, which
        refuses it: then the log is read again.
        """
        subject = subjects.events(turn.tenant, turn.id)
        while True:
            state = LogState()
            async for stored in bus.replay(subject, 0):
                state.read(stored)
            if state.attempt > turn.attempt:
                raise FencedError("a later attempt has taken the log", attempt=state.attempt)
            if state.ended:
                return cls(bus, turn, check_claim, sequence=state.sequence, digest=state.digest), state
            await check_claim()  # what a later attempt has written may be lost
            try:
                sequence = await bus.append(
                    subject, Batch(turn.attempt, state.next, []), state.sequence, age=_age(turn)
                )
            except FencedError as error:
                if error.attempt > turn.attempt:
                    raise
            else:
                return cls(bus, turn, check_claim, sequence=sequence, digest=state.digest), state

    def append(self, kind: str, **fields: Any) -> None:
        """Add an event; it is sent as soon as the batch before it is stored.

        Raises EventTooLargeError for one that no message can hold: the log goes on without it.
        """
        if self._error:
            raise self._error
        line = encode(kind, self._digest.count, fields)
        if len(line) > self._bus.event_limit:
            raise EventTooLargeError(f"an event of {len(line)} bytes is larger than a message may be")
        self._digest.add(line)
        self._lines.append(line)
        self._waiting += len(line)
        if self._sender is None:
            self._sender = asyncio.create_task(self._send(), name="event_log.send")

    def end(self, kind: str, **fields: Any) -> None:
        """Add the terminal event, with the count and the digest of all events before it as its `log`."""
        self.append(kind, **fields, log=self._digest.shown())

    async def room(self) -> None:
        """Wait while more is waiting than may."""
        while self._sender and self._waiting > WAITING_BYTES:
            await asyncio.shield(self._sender)
        if self._error:
            raise self._error

    async def flush(self) -> None:
        """Wait until all that was added is stored."""
        while self._sender:
            await asyncio.shield(self._sender)
        if self._error:
            raise self._error

    async def _send(self) -> None:
        try:
            while self._lines:
                async with self._bus.appending:
                    await self._store(self._next_batch())  # not made before, so that it grows while it waits
        except Exception as error:  # noqa: BLE001 - raised by the next call, whatever it is
            self._error = error
        finally:
            self._sender = None

    async def _store(self, batch: Batch) -> None:
        """Store a batch, and before it what the log has lost."""
        missing, losses = [batch], 0
        while missing:
            try:
                self._sequence = await self._bus.append(self._subject, missing[0], self._sequence, age=self._age)
                missing.pop(0)
            except FencedError:
                last = await self._bus.end(self._subject)
                losses += 1
                if (last and last.batch.attempt > self._attempt) or losses > LOSSES:
                    raise
                await self._check_claim()
                log.warning("event_log.lost", turn=self._turn, attempt=self._attempt, number=batch.first)
                self._sequence = last.sequence if last else 0
                missing = [*self._kept.behind(last.batch if last else None), batch]
        self._kept.add(batch)

    def _next_batch(self) -> Batch:
        first = self._digest.count - len(self._lines)
        size = count = 0
        while count < len(self._lines) and (not count or size + len(self._lines[count]) < BATCH_BYTES):
            size += len(self._lines[count]) + 1  # with its line break
            count += 1
        lines, self._lines = self._lines[:count], self._lines[count:]
        self._waiting -= sum(map(len, lines))
        return Batch(self._attempt, first, lines)


def _age(turn: Turn) -> int | None:
    return None if turn.stored else subjects.UNSTORED_AGE
