"""A keep-alive HTTP connection that does next to nothing while a stream comes in: it notes bytes and their time."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Self

from httptools import HttpResponseParser

from bench.turn_reader import Piece


@dataclass
class Exchange:
    """One request and what came back; times in seconds of the performance counter."""

    started: float
    pieces: list[Piece] = field(default_factory=list)  # of the body


class Connection(asyncio.Protocol):
    """Carries one exchange at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser = HttpResponseParser(self)
        self._exchange = Exchange(0)
        self._ended: asyncio.Future[None] | None = None
        self._now = 0.0

    @classmethod
    async def open(cls, host: str, port: int) -> Self:
        """Connect."""
        transport, connection = await asyncio.get_running_loop().create_connection(cls, host, port)
        connection._transport = transport  # noqa: SLF001 - its own
        return connection

    @property
    def closed(self) -> bool:
        """Whether a further exchange needs another connection."""
        return self._transport is None or self._transport.is_closing()

    async def exchange(self, request: bytes) -> Exchange:
        """Send a request and return when its answer has ended, or the connection with it."""
        assert self._transport
        self._parser = HttpResponseParser(self)
        self._ended = asyncio.get_running_loop().create_future()
        self._exchange = Exchange(time.perf_counter())
        self._transport.write(request)
        await self._ended
        return self._exchange

    def close(self) -> None:
        """Close at once."""
        if self._transport:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take bytes (asyncio)."""
        self._now = time.perf_counter()
        self._parser.feed_data(data)

    def connection_lost(self, _error: Exception | None) -> None:
        """End (asyncio); an exchange under way is over, and its turn will be found incomplete."""
        self._transport = None
        self.on_message_complete()

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body (httptools)."""
        self._exchange.pieces.append((self._now, body))

    def on_message_complete(self) -> None:
        """End the exchange (httptools)."""
        if self._ended and not self._ended.done():
            self._ended.set_result(None)
        if not self._parser.should_keep_alive():
            self.close()
