"""Read a turn's log to a client: from any event on, live, and without a gap.

The tail is followed from before the log is read, so nothing falls between the two. Each batch names the one before it
in the same log; where that is not the one last seen, the gap is read from the stream.
"""

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Self

from turnstream import subjects
from turnstream.bus import Bus, Stored
from turnstream.errors import BusUnavailableError, EventsExpiredError
from turnstream.events import decode, is_terminal

CATCH_UP_PAUSE = 0.05  # seconds before a replica is asked again for what it does not have yet
CATCH_UP_TRIES = 100
EXPIRED = "The events of this response are no longer kept. Retrieve the response itself."


class Relay:
    """One reader of one turn. Use it with `async with`, entered before the turn is queued."""

    def __init__(self, bus: Bus, tenant: str, turn: str, *, keepalive: float, closed: bool = False) -> None:
        self.turn = turn
        self._bus = bus
        self._subject = subjects.events(tenant, turn)
        self._tail = bus.tail(subjects.live(tenant, turn))
        self._keepalive = keepalive  # seconds of silence before the stream is read, and the client told
        self._closed = closed  # whether nothing is going to be added to the log
        self._cursor = 0  # stream sequence of the last batch seen
        self._stopped = False

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
        Raises BusUnavailableError, and EventsExpiredError where the log no longer holds what is asked for.
        """
        following = after + 1
        async for stored in self._stored(new=new):
            if stored is None:
                yield []
                continue
            if stored.batch.first > following:
                raise EventsExpiredError(EXPIRED)
            if lines := stored.batch.since(following):
                following = stored.batch.next
                yield lines
            if stored.batch.lines and is_terminal(stored.batch.lines[-1]):
                return

    async def response(self, *, new: bool = True) -> dict[str, Any] | None:
        """Return the response that a turn ends with, or None if it is stopped before; `new` as for `lines`."""
        last = b""
        async for lines in self.lines(new=new):
            last = lines[-1] if lines else last
        return decode(last)["response"] if last and is_terminal(last) else None

    async def _stored(self, *, new: bool) -> AsyncIterator[Stored | None]:
        """Yield every batch of the log once and in order; None is a sign of life."""
        if not new:
            async for stored in self._read_beginning():
                yield stored
        while not self._stopped:
            try:
                live = await self._tail.next(self._keepalive)
            except TimeoutError:
                yield None
                live = None
            if live is None:  # silence or a broken tail: see what the stream has
                async for stored in self._read():
                    yield stored
            elif live.sequence > self._cursor and live.previous != self._cursor:
                async for stored in self._read(live.sequence):
                    yield stored
            elif live.sequence > self._cursor:
                self._cursor = live.sequence
                yield live

    async def _read_beginning(self) -> AsyncIterator[Stored]:
        async for stored in self._read():
            yield stored
        if self._closed:  # and its last event is not there, or nobody would have read on
            raise EventsExpiredError(EXPIRED)

    async def _read(self, target: int = 0) -> AsyncIterator[Stored]:
        """Yield what the stream holds behind the cursor, up to `target` at least."""
        for _ in range(CATCH_UP_TRIES):
            async for stored in self._bus.replay(self._subject, self._cursor):
                self._cursor = stored.sequence
                yield stored
            if self._cursor >= target:
                return
            await asyncio.sleep(CATCH_UP_PAUSE)  # the replica that was asked is behind
        raise BusUnavailableError("the stream does not hold what it has republished")
