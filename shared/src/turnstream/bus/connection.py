"""A connection to NATS that heals itself or says that it cannot, and requests that are tried for a bounded time."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import (
    ConnectionClosedError,
    ConnectionReconnectingError,
    Error,
    FlushTimeoutError,
    NoRespondersError,
    NoServersError,
    OutboundBufferLimitError,
    SlowConsumerError,
    StaleConnectionError,
)

from turnstream.bus.replies import NO_RESPONDERS, Replies
from turnstream.errors import BusUnavailableError
from turnstream.logs import log
from turnstream.settings import Settings

# What passes when the server is back. TimeoutError covers nats.errors.TimeoutError, which derives from it.
AWAY = (
    TimeoutError,
    OSError,
    ConnectionClosedError,
    ConnectionReconnectingError,
    FlushTimeoutError,
    NoRespondersError,
    NoServersError,
    OutboundBufferLimitError,
    StaleConnectionError,
)
END_OF_BATCH = {"204", "404"}  # the closing statuses of a direct get: there may be more behind it, there is nothing
LEAST_PAYLOAD = 8_000_000  # bytes: the last event of a turn holds its request and its whole output, escaped
PENDING_BYTES = 32 << 20  # what may wait to be sent while the server is away
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0  # seconds between two tries


class Connection:
    """A connection to NATS: it reconnects for ever, and a watchdog finds the case where nats-py only believes so."""

    def __init__(self, settings: Settings, service: str) -> None:
        self.client = Client()
        self.failed = asyncio.Event()  # set when the process had better be started anew
        self._settings = settings
        self._service = service
        self._replies = Replies(self.client)
        self._reconnected: set[Callable[[], None]] = set()
        self._watchdog: asyncio.Task[None] | None = None

    async def open(self) -> Self:
        """Connect within `startup_timeout`; raise BusUnavailableError if that fails."""
        try:
            async with asyncio.timeout(self._settings.startup_timeout):
                await self._connect()
        except AWAY as error:
            raise BusUnavailableError(f"NATS cannot be reached: {type(error).__name__}") from error
        if self.client.max_payload < LEAST_PAYLOAD:
            await self.client.close()
            raise BusUnavailableError(f"NATS takes messages of {self.client.max_payload} bytes: set max_payload to 8MB")
        await self._replies.open()
        self._watchdog = asyncio.create_task(self._watch(), name="bus.watchdog")
        self._watchdog.add_done_callback(lambda _: self.failed.set())
        return self

    async def close(self) -> None:
        """Send what is buffered and close."""
        if self._watchdog:
            self._watchdog.cancel()
        if not self.client.is_closed:
            await self.client.close()

    def on_reconnect(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` after each reconnect; return the function that ends that."""
        self._reconnected.add(callback)
        return lambda: self._reconnected.discard(callback)

    async def request(
        self, subject: str, payload: bytes, headers: dict[str, str] | None = None, *, patience: float | None = None
    ) -> Msg:
        """Send a request until it is answered, for at most `patience` seconds (default: `bus_patience`).

        The same bytes may arrive more than once, so they must say how to tell a repetition. Raises BusUnavailableError.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (self._settings.bus_patience if patience is None else patience)
        pause = FIRST_PAUSE
        while True:
            try:
                return await self._replies.request(subject, payload, self._settings.bus_timeout, headers)
            except AWAY as error:
                if loop.time() + pause > deadline or self.client.is_closed:
                    raise BusUnavailableError(f"no answer on {subject}: {type(error).__name__}") from error
                log.warning("bus.retry", subject=subject, error=type(error).__name__)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def request_once(self, subject: str, payload: bytes, within: float) -> Msg:
        """Send a request once and return its answer; raise one of AWAY, after so many seconds at the latest."""
        return await self._replies.request(subject, payload, within, None)

    async def direct_get(self, stream: str, wanted: dict[str, Any]) -> AsyncIterator[Msg]:
        """Yield the messages of one batched direct get, its closing status last; raise one of AWAY.

        Any replica of the stream answers, and no consumer is made (NATS architecture decision record 31).
        """
        inbox = self.client.new_inbox()
        subscription = await self.client.subscribe(inbox)
        try:
            await self.client.publish(f"$JS.API.DIRECT.GET.{stream}", orjson.dumps(wanted), reply=inbox)
            while True:
                message = await subscription.next_msg(timeout=self._settings.bus_timeout)
                status = (message.headers or {}).get("Status")
                if status == NO_RESPONDERS:  # the stream is being recovered, or made anew
                    raise NoRespondersError
                yield message
                if status is not None:
                    return
        finally:
            with suppress(Error):  # the connection is away, and the subscription with it
                await subscription.unsubscribe()

    async def leave(self, subscription: Subscription) -> None:
        """End a subscription such that what is on its way still arrives.

        nats-py's drain loses it: the PING whose answer ends its wait overtakes its UNSUB.
        """
        try:
            await self.client._send_unsubscribe(subscription._id)  # noqa: SLF001 - the public ways forget it at once
            await self.round_trip()
            await subscription.unsubscribe()  # its callback has run by now: what came earlier was scheduled earlier
        except AWAY as error:
            log.warning("bus.not_left", subject=subscription.subject, error=type(error).__name__)

    async def round_trip(self) -> None:
        """Return once the server has seen all that was sent before; raise one of AWAY if it does not answer."""
        await self._replies.round_trip(self._settings.bus_timeout)

    async def _connect(self) -> None:
        url = urlsplit(self._settings.nats_url.get_secret_value())
        while True:
            try:
                await self.client.connect(
                    urlunsplit(url._replace(netloc=url.netloc.rpartition("@")[2])),
                    user=url.username,
                    password=url.password,
                    name=f"turnstream-{self._service}",
                    inbox_prefix=f"_INBOX_{self._service}".encode(),
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=0.25,  # type: ignore[arg-type]  # annotated int, slept as it is
                    ping_interval=10,
                    pending_size=PENDING_BYTES,
                    skip_subject_validation=True,  # they are made of ids that were checked before they were stored
                    reconnected_cb=self._on_reconnected,
                    closed_cb=self._on_closed,
                    error_cb=self._on_error,
                )
            except AWAY as error:
                log.info("bus.waiting", error=type(error).__name__)
                await asyncio.sleep(FIRST_PAUSE)
            else:
                return

    async def _on_reconnected(self) -> None:
        log.info("bus.reconnected")
        for callback in tuple(self._reconnected):
            callback()

    async def _on_closed(self) -> None:
        # Any -ERR but two closes nats-py's client for good: only a new process helps.
        self.failed.set()

    async def _on_error(self, error: Exception) -> None:
        if isinstance(error, SlowConsumerError):
            return  # the tail that fell behind heals itself from the stream
        log.warning("bus.error", error=type(error).__name__, detail=str(error))

    async def _watch(self) -> None:
        """Ask the server for a pong again and again: its read loop may have died while nats-py shows a connection."""
        missed = 0
        while True:
            await asyncio.sleep(self._settings.watchdog_interval)
            if not self.client.is_connected:
                continue  # nats-py knows, and reconnects
            try:
                await self.client.rtt(timeout=2)
                missed = 0
            except AWAY as error:
                missed += 1
                log.warning("bus.silent", missed=missed, error=type(error).__name__)
                if missed == 2:  # noqa: PLR2004 - one lost pong may be a busy server, two are not
                    await self.client.force_reconnect()
                elif missed > 3:  # noqa: PLR2004 - a reconnect did not help
                    self.failed.set()
