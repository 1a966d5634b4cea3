"""Read a turn's log to a client: from any event on, live, and without a gap.

The tail is followed from before the log is read, so nothing falls between the two. An attempt numbers each event once,
so its number and attempt say which event it is, whatever stream it stands in: a batch of the same attempt that begins
with the next number follows. What does not follow is read from the stream.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from types import TracebackType
from typing import Any, Self

from turnstream import subjects
from turnstream.bus import Bus, Stored
from turnstream.errors import BusUnavailableError, EventsExpiredError, EventsLostError
from turnstream.events import Batch, decode, is_terminal

CATCH_UP_PAUSE = 0.05  # seconds before a replica is asked again for what it does not have yet
CATCH_UP_TRIES = 100
EXPIRED = "The events of this response are no longer kept. Retrieve the response itself."
LOST = (
    "Events of this response were lost, and others follow. Follow it from the start, or retrieve the response itself."
)

type Closed = Callable[[], Awaitable[bool]]
"""Tells whether a turn has ended and its last event was stored: nothing is going to be added to its log then."""


class Relay:
    """One reader of one turn. Use it with `async with`, entered before the turn is queued."""

    def __init__(self, bus: Bus, tenant: str, turn: str, *, keepalive: float, closed: Closed) -> None:
        self.turn = turn
        self._bus = bus
        self._subject = subjects.events(tenant, turn)
        self._tail = bus.tail(subjects.live(tenant, turn))
        self._keepalive = keepalive  # seconds of silence before the stream is read, and the client told
        self._closed = closed
        self._stopped = False
        self._following = 0  # number of the event that the client is to get next
        self._begin()

    def _begin(self) -> None:
        """Know nothing of the log."""
        self._sequence = 0  # of the last batch, in the stream
        self._attempt = 0  # that wrote it
        self._next = 0  # number behind it

    async def __aenter__(self) -> Self:
        await self._tail.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._tail.__aexit__(kind, error, trace)

    def stop(self) -> None:
        """End `lines` as soon as it is waiting."""
        self._stopped = True
        self._tail.wake()

    async def lines(self, after: int = -1, *, new: bool = False) -> AsyncIterator[list[bytes]]:
        """Yield the events behind number `after` until the turn has ended, those stored together as one list.

        An empty list is a sign of life. `new` says that the log was empty when the tail began.
        Raises BusUnavailableError; EventsExpiredError where the log no longer holds what is asked for; EventsLostError
        where the turn was begun again, without events that the client has.
        """
        self._following = after + 1
        async for batch in self._batches(new=new):
            if batch is None:
                yield []
                continue
            if lines := batch.since(self._following):
                self._following = batch.next
                yield lines
            if batch.lines and is_terminal(batch.lines[-1]):
                if self._following > batch.next:
                    raise EventsLostError(LOST)  # what the client has stood behind this end, or never was
                return

    async def response(self, *, new: bool = True) -> dict[str, Any] | None:
        """Return the response that a turn ends with, or None if it is stopped before; `new` as for `lines`.

        A turn that was begun again will do.
        """
        try:
            return await self._response(new=new)
        except EventsLostError:
            self._begin()
            return await self._response(new=False)

    async def _response(self, *, new: bool) -> dict[str, Any] | None:
        last = b""
        async for lines in self.lines(new=new):
            last = lines[-1] if lines else last
        return decode(last)["response"] if last and is_terminal(last) else None

    async def _batches(self, *, new: bool) -> AsyncIterator[Batch | None]:
        """Yield every batch of the log, those of one attempt in order and without a gap; None is a sign of life."""
        if new:
            self._attempt = 1  # writes the first batch, unless it dies before
        else:
            async for batch in self._read_beginning():
                yield batch
        while not self._stopped:
            try:
                live = await self._tail.next(self._keepalive)
            except TimeoutError:
                yield None
                live = None
            if live is None:  # silence or a broken tail: see what the stream has
                async for batch in self._read_on():
                    yield batch
            elif live.batch.attempt == self._attempt and live.batch.first == self._next:
                self._move_behind(live)
                yield live.batch
            elif not self._is_past(live.batch):
                async for batch in self._read(live.batch):
                    yield batch

    async def _read_beginning(self) -> AsyncIterator[Batch]:
        async for batch in self._read():
            yield batch
        async for batch in self._read_on():
            yield batch

    async def _read_on(self) -> AsyncIterator[Batch]:
        """Yield what the stream holds where nothing comes; raise EventsExpiredError if nothing is going to."""
        closed = await self._closed()
        async for batch in self._read():
            yield batch
        if closed:  # and its last event is not there, or nobody would have read on
            raise EventsExpiredError(EXPIRED)

    async def _read(self, heard: Batch | None = None) -> AsyncIterator[Batch]:
        """Yield what the stream holds behind the last batch; at least what was heard live."""
        for _ in range(CATCH_UP_TRIES):
            async for batch in self._stored():
                yield batch
            if heard is None or self._is_past(heard):
                return
            await asyncio.sleep(CATCH_UP_PAUSE)  # the replica that was asked is behind
        raise BusUnavailableError("the stream does not hold what it has republished")

    async def _stored(self) -> AsyncIterator[Batch]:
        """Yield what follows in the stream, from its beginning where it does not hold the last batch any more."""
        goes_on = False
        if self._sequence:
            async with aclosing(self._bus.replay(self._subject, self._sequence - 1)) as replay:
                async for stored in replay:
                    if not goes_on:
                        goes_on = self._is_last(stored)
                    elif goes_on := self._follows(stored.batch):
                        self._move_behind(stored)
                        yield stored.batch
                    if not goes_on:
                        break
        if not goes_on:  # the last batch has expired, or was lost with its stream, whose place another has taken
            async for batch in self._stored_in_all():
                yield batch

    async def _stored_in_all(self) -> AsyncIterator[Batch]:
        """Yield what the stream holds that the reader has not had. Raises as `lines` does."""
        begin = self._next
        async with aclosing(self._bus.replay(self._subject, 0)) as replay:
            async for stored in replay:
                batch = stored.batch
                if batch.attempt < self._attempt or (batch.attempt == self._attempt and batch.next < self._next):
                    continue
                if objection := self._objection(batch):
                    if self._next == begin:
                        raise objection
                    return  # the log may have been lost while it was read: it is read again
                self._move_behind(stored)
                yield batch

    def _move_behind(self, stored: Stored) -> None:
        self._sequence = stored.sequence
        self._attempt = stored.batch.attempt
        self._next = stored.batch.next

    def _is_last(self, stored: Stored) -> bool:
        place = (stored.sequence, stored.batch.attempt, stored.batch.next)
        return place == (self._sequence, self._attempt, self._next)

    def _is_past(self, batch: Batch) -> bool:
        """Tell whether the reader is behind a batch; one of an earlier attempt has no place any more."""
        return (batch.attempt, batch.next) <= (self._attempt, self._next)

    def _follows(self, batch: Batch) -> bool:
        return batch.attempt >= self._attempt and batch.first == self._next

    def _objection(self, batch: Batch) -> EventsExpiredError | None:
        """Return why the client cannot be given a batch next, if it cannot."""
        if batch.attempt > self._attempt and (batch.first < self._next or self._begins_again(batch)):
            return EventsLostError(LOST)
        if batch.first > max(self._next, self._following):
            return EventsExpiredError(EXPIRED)
        return None

    def _begins_again(self, batch: Batch) -> bool:
        """Tell whether a log begins with a later attempt, where the client has events: of another log, it seems.

        The first attempt may also have died before it wrote anything. Nothing tells that apart.
        """
        return batch.attempt > 1 and batch.first == 0 and self._following > 0
