"""The writer of a turn's log: it numbers and encodes events once, and appends them in order behind a fence.

One append is in flight at a time. What comes meanwhile goes out together in the next one: under light load each token
leaves at once, under heavy load batches grow by themselves.
"""

import asyncio
from typing import Any, Self

from turnstream import subjects
from turnstream.bus import Bus
from turnstream.errors import FencedError
from turnstream.events import Batch, encode
from turnstream.turns import Turn
from turnstream_worker.log_state import LogState

BATCH_BYTES = 256 << 10  # a batch is closed once it has reached this
WAITING_BYTES = 1 << 20  # a writer waits for the bus once so much is waiting


class EventLog:
    """One attempt's hold on a turn's log. Raises FencedError from any call once a later attempt has taken it."""

    def __init__(self, bus: Bus, turn: Turn, *, sequence: int = 0, number: int = 0) -> None:
        self._bus = bus
        self._subject = subjects.events(turn.tenant, turn.id)
        self._attempt = turn.attempt
        self._age = _age(turn)
        self._sequence = sequence  # stream sequence of the log's last batch
        self._number = number  # of the next event
        self._lines: list[bytes] = []  # encoded and not sent yet
        self._waiting = 0  # bytes of them
        self._sender: asyncio.Task[None] | None = None
        self._error: Exception | None = None

    @classmethod
    async def take_over(cls, bus: Bus, turn: Turn) -> tuple[Self, LogState]:
        """Fence off earlier attempts; return the log to go on with, and what they left in it.

        The fence is an empty batch at the end of the log. Until it stands, an earlier attempt may still append, which
        refuses it: then the log is read again.
        """
        subject = subjects.events(turn.tenant, turn.id)
        while True:
            state = LogState()
            async for stored in bus.replay(subject, 0):
                state.read(stored)
            if state.ended:
                return cls(bus, turn, sequence=state.sequence, number=state.next), state
            try:
                sequence = await bus.append(
                    subject, Batch(turn.attempt, state.next, []), state.sequence, age=_age(turn)
                )
            except FencedError as error:
                if error.attempt > turn.attempt:
                    raise
            else:
                return cls(bus, turn, sequence=sequence, number=state.next), state

    def append(self, kind: str, **fields: Any) -> None:
        """Add an event; it is sent as soon as the batch before it is stored."""
        if self._error:
            raise self._error
        line = encode(kind, self._number, fields)
        self._number += 1
        self._lines.append(line)
        self._waiting += len(line)
        if self._sender is None:
            self._sender = asyncio.create_task(self._send(), name="event_log.send")

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
                    batch = self._next_batch()  # not before, so that it grows while it waits
                    self._sequence = await self._bus.append(self._subject, batch, self._sequence, age=self._age)
        except Exception as error:  # noqa: BLE001 - raised by the next call, whatever it is
            self._error = error
        finally:
            self._sender = None

    def _next_batch(self) -> Batch:
        first = self._number - len(self._lines)
        size = count = 0
        while count < len(self._lines) and size < BATCH_BYTES:
            size += len(self._lines[count])
            count += 1
        lines, self._lines = self._lines[:count], self._lines[count:]
        self._waiting -= size
        return Batch(self._attempt, first, lines)


def _age(turn: Turn) -> int | None:
    return None if turn.stored else subjects.UNSTORED_AGE
