"""Take work from a pull consumer as capacity allows, with the pull requests always waiting at the server."""

import asyncio
from collections import deque
from contextlib import suppress
from types import TracebackType
from typing import Self

import orjson
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error

from turnstream.bus.connection import AWAY, Connection
from turnstream.errors import BusUnavailableError
from turnstream.logs import log
from turnstream.subjects import Consumer

# Seconds a pull request waits at the server. Until then it draws work to a worker that is paused or cut off, so it must
# be over when the others notice that one.
PULL_EXPIRES = 1.5
PULL_GRACE = 5  # seconds after which a request that neither delivered nor expired is taken for lost


class Delivery:
    """One message of a work queue, to be settled by exactly one of `ack` and `nak`."""

    def __init__(self, message: Msg) -> None:
        self._message = message

    @property
    def data(self) -> bytes:
        """The message's payload."""
        return self._message.data

    @property
    def receipt(self) -> str:
        """What another needs to give this delivery back."""
        return self._message.reply

    async def ack(self) -> None:
        """Take the message off the queue, and wait until the server says so.

        Raises BusUnavailableError if it does not: the message will come again.
        """
        try:
            await self._message.ack_sync(timeout=2)
        except AWAY as error:
            raise BusUnavailableError("the acknowledgement was not answered") from error

    async def nak(self, delay: float) -> None:
        """Give the message back, to be delivered again after `delay` seconds; raise BusUnavailableError."""
        try:
            await self._message.nak(delay=delay)
        except AWAY as error:
            raise BusUnavailableError("the message could not be given back") from error

    async def in_progress(self) -> None:
        """Tell the server that the work goes on, so that it waits for another `ack_wait`; raise BusUnavailableError."""
        try:
            await self._message.in_progress()
        except AWAY as error:
            raise BusUnavailableError("the server could not be told that the work goes on") from error


class NoDelivery(Delivery):
    """What stands for the delivery of work that no message is about: there is nothing to settle."""

    def __init__(self) -> None:
        pass

    async def ack(self) -> None:
        """Do nothing."""

    async def nak(self, delay: float) -> None:
        """Do nothing."""

    async def in_progress(self) -> None:
        """Do nothing."""


class WorkQueue:
    """Deliveries of one consumer, never more at a time than `capacity`; each is given back by `release`."""

    def __init__(self, connection: Connection, consumer: Consumer, capacity: int) -> None:
        self._connection = connection
        self._consumer = consumer
        self._capacity = capacity
        self._requested = 0  # messages that pull requests at the server stand for
        self._taken = 0  # deliveries that were not released yet
        self._asked_at = 0.0
        self._waiting: deque[Delivery] = deque()
        self._changed = asyncio.Event()
        self._subscription: Subscription | None = None

    async def __aenter__(self) -> Self:
        self._inbox = self._connection.client.new_inbox()
        self._forget = self._connection.on_reconnect(self._on_reconnect)
        self._subscription = await self._connection.client.subscribe(self._inbox, cb=self._on_message)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Ask for no more, and give back what was delivered and not taken; what was taken goes on."""
        self._forget()
        subscription, self._subscription = self._subscription, None
        if subscription and not self._connection.client.is_closed:
            await subscription.unsubscribe()
        await self.give_back()

    async def give_back(self) -> None:
        """Give back what was delivered and not taken."""
        while self._waiting:
            with suppress(BusUnavailableError):  # it comes again by itself
                await self._waiting.popleft().nak(0)

    async def next(self) -> Delivery:
        """Return the next delivery once there is one and capacity for it."""
        while not self._waiting or self._taken >= self._capacity:
            self._changed.clear()  # before asking, so that no arrival is missed
            await self._ask()
            try:
                async with asyncio.timeout(1):
                    await self._changed.wait()
            except TimeoutError:
                self._give_up_lost_requests()
        self._taken += 1
        return self._waiting.popleft()

    def release(self) -> None:
        """Say that a delivery was settled, which makes room for another."""
        self._taken -= 1
        self._changed.set()

    async def _ask(self) -> None:
        room = self._capacity - self._taken - len(self._waiting) - self._requested
        # Not one by one: as long as half of the places are asked for, nothing waits for the other half.
        if room <= 0 or room < self._requested or not self._connection.client.is_connected:
            return
        self._requested += room
        self._asked_at = asyncio.get_running_loop().time()
        body = orjson.dumps({"batch": room, "expires": int(PULL_EXPIRES * 1e9)})
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._consumer.stream}.{self._consumer.name}"
        try:
            await self._connection.client.publish(subject, body, reply=self._inbox)
        except Error as error:
            self._requested -= room
            log.warning("queue.pull_failed", error=type(error).__name__)

    async def _on_message(self, message: Msg) -> None:
        status = (message.headers or {}).get("Status")
        if status is None:
            self._requested = max(0, self._requested - 1)
            self._waiting.append(Delivery(message))
        else:
            # 408: the request has waited long enough. Others (409, 503): it was refused. The rest of it is void.
            void = int((message.headers or {}).get("Nats-Pending-Messages", self._requested))
            self._requested = max(0, self._requested - void)
            if status != "408":
                log.warning("queue.pull_refused", status=status)
                return  # asked again at the next tick, not at once
        self._changed.set()

    def _on_reconnect(self) -> None:
        self._requested = 0  # the server forgot them with the connection
        self._changed.set()

    def _give_up_lost_requests(self) -> None:
        silent = asyncio.get_running_loop().time() - self._asked_at
        if self._requested and silent > PULL_EXPIRES + PULL_GRACE:
            log.warning("queue.deaf", requested=self._requested)
            self._requested = 0
