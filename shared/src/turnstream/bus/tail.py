"""The live tail of one turn's log: what the stream republishes once it is stored."""

import asyncio
from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from turnstream.bus.connection import Connection
from turnstream.events import Batch

BATCH_HEADER = "Turnstream-Batch"
# What may wait for a slow reader before it is sent to the stream instead.
TAIL_LIMIT = 256  # batches
TAIL_BYTES = 2 << 20


@dataclass(frozen=True, slots=True)
class Stored:
    """A batch as the stream holds it."""

    sequence: int  # in the stream
    batch: Batch


class Tail:
    """A subscription that remembers whether it may have missed something.

    What it holds is bounded: a reader that falls behind loses its tail and is told so, and reads the stream instead.
    """

    def __init__(self, connection: Connection, subject: str) -> None:
        self._connection = connection
        self._subject = subject
        self._waiting: deque[Stored] = deque()
        self._bytes = 0  # that came since the reader was last up to date
        self._arrived = asyncio.Event()
        self._broken = False
        self._subscription: Subscription | None = None

    async def __aenter__(self) -> Self:
        self._forget = self._connection.on_reconnect(self.wake)
        # nats-py's own limit lies far above ours, so that it never drops a batch unseen.
        self._subscription = await self._connection.client.subscribe(
            self._subject, cb=self._on_message, pending_msgs_limit=4 * TAIL_LIMIT
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._forget()
        if self._subscription and not self._connection.client.is_closed:
            await self._subscription.unsubscribe()

    async def next(self, within: float) -> Stored | None:
        """Return the next batch, or None if there is a gap to be read from the stream.

        Raises TimeoutError when nothing came within so many seconds.
        """
        if not (self._waiting or self._broken):
            self._bytes = 0
            self._arrived.clear()
            # A bare timer: asyncio.timeout costs as much as all the rest of this, for every batch.
            timer = asyncio.get_running_loop().call_later(within, self._arrived.set)
            try:
                await self._arrived.wait()
            finally:
                timer.cancel()
        if not (self._waiting or self._broken):
            raise TimeoutError
        if self._broken:
            self._broken = False
            self._bytes = 0
            self._waiting.clear()
            return None
        return self._waiting.popleft()

    async def _on_message(self, message: Msg) -> None:
        self._bytes += len(message.data)
        if len(self._waiting) >= TAIL_LIMIT or self._bytes > TAIL_BYTES:
            self._waiting.clear()
            self.wake()
        else:
            self._waiting.append(stored(message))
            self._arrived.set()

    def wake(self) -> None:
        """Make `next` return None, as if there were a gap."""
        self._broken = True
        self._arrived.set()


def stored(message: Msg) -> Stored:
    """Return the batch that a republished or directly read message holds."""
    headers = message.headers or {}
    return Stored(int(headers["Nats-Sequence"]), Batch.parse(headers[BATCH_HEADER], message.data))
