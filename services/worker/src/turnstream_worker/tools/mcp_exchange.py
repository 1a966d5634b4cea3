"""A request that is under way."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from turnstream_worker.tools.mcp_errors import LateError, TooLargeError
from turnstream_worker.tools.tool import ToolError


class Exchange:
    """A request and its answer: whoever asks and what carries it both wait as long as it lasts.

    It lasts until its time is over, whoever asks needs it no more, or it fails.
    """

    def __init__(self, number: int, patience: float, limit: int, key: str | None = None) -> None:
        """Begin; it may take `patience` seconds, and its answer `limit` bytes."""
        self.number = number  # the request's id
        self.limit = limit
        self.key = key  # of a call: its idempotency key
        self.sent: httpx.Request | None = None  # what it was asked by, once it was
        self.resumed = 0  # times that its answer broke off and was gone on with
        self.failure: ToolError | None = None
        self._patience = patience
        self._left = limit
        self._deadline = asyncio.get_running_loop().time() + patience
        self._waits: set[asyncio.Timeout] = set()

    @asynccontextmanager
    async def lasting(self) -> AsyncIterator[None]:
        """Break off what runs in this context when the exchange is over, by the ToolError that it has ended by."""
        try:
            async with asyncio.timeout_at(self._deadline) as wait:
                self._waits.add(wait)
                try:
                    yield
                finally:
                    self._waits.discard(wait)
        except TimeoutError as error:
            raise self.failure or LateError(self._patience) from error

    def spend(self, size: int) -> None:
        """Count bytes of the answer; raise TooLargeError if they are more than it may have."""
        self._left -= size
        if self._left < 0:
            raise TooLargeError(self.limit)

    def fail(self, failure: ToolError) -> None:
        """End it by an error, if it has not failed before."""
        self.failure = self.failure or failure
        self.end()

    def end(self) -> None:
        """Break off all that waits."""
        self._deadline = asyncio.get_running_loop().time()
        for wait in self._waits:
            if not wait.expired():
                wait.reschedule(self._deadline)
