"""The answering end of streams: so many calls at a time, and none but what this process has room for.

A process that is full leaves the queue group, so that NATS passes it over in favour of others, and where none has room
tells an asker at once that nobody is there. What was on its way already is sent back as busy, to be asked elsewhere.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing, suppress
from typing import Any
from uuid import uuid4

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from turnstream import subjects
from turnstream.bus import failures
from turnstream.bus.connection import AWAY, Connection
from turnstream.bus.frames import ALIVE, BUSY, DATA, END, FAILURE, FRAME, HEARTBEAT, STALL, WINDOW, frame
from turnstream.errors import ApiError, BusUnavailableError, TurnError, UnavailableError
from turnstream.logs import fault, log

type Respond = Callable[[str, bytes], AsyncGenerator[bytes]]
"""Makes an answer of a request's subject and payload; an empty first piece says that it has begun."""

QUEUE = "q"  # the group that NATS's micro services are in


class StreamService:
    """Answers what comes on a subject, at most `capacity` calls at a time."""

    def __init__(self, connection: Connection, subject: str, respond: Respond, capacity: int) -> None:
        self._connection = connection
        self._subject = subject
        self._respond = respond
        self._capacity = capacity
        self._group: Subscription | None = None  # None while this process is full, or stopped
        self._joining = asyncio.Lock()
        self._stopped = False
        self._inbox = f"{subjects.STREAM_WORDS}.{uuid4().hex}"
        self._taken = 0
        self._calls: dict[str, _Call] = {}
        self._asides: set[asyncio.Task[None]] = set()  # what is done beside the calls
        self._heart: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Begin to answer; return once the server knows of it, so that whoever asks now is answered."""
        await self._connection.client.subscribe(f"{self._inbox}.*", cb=self._on_word)
        self._heart = asyncio.create_task(self._beat(), name="bus.heart")
        self._heart.add_done_callback(lambda _: self._connection.failed.set())
        await self._join()
        with suppress(*AWAY):  # it learns of it when it is back
            await self._connection.round_trip()

    async def stop(self, grace: float) -> None:
        """Take nothing more, let what runs go on for so many seconds, and break off the rest."""
        self._stopped = True
        self._leave()
        await asyncio.gather(*self._asides)
        tasks = [call.task for call in self._calls.values()]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=grace)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _join(self) -> None:
        """Take part in the group, if there is room."""
        async with self._joining:
            free = len(self._calls) < self._capacity and not self._stopped
            if free and self._group is None and not self._connection.client.is_closed:
                self._group = await self._connection.client.subscribe(self._subject, queue=QUEUE, cb=self._on_call)

    def _leave(self) -> None:
        """Take part no more; what is on its way still arrives, and is refused."""
        if self._group:
            self._aside(self._connection.leave(self._group))
            self._group = None

    def _aside(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="stream.aside")
        self._asides.add(task)
        task.add_done_callback(self._asides.discard)

    async def _on_call(self, message: Msg) -> None:
        if self._stopped or len(self._calls) >= self._capacity:
            # Behind what leaves the group, so that the same request does not come here again.
            self._aside(self._refuse(message))
            return
        self._taken += 1
        token = str(self._taken)
        call = self._calls[token] = _Call(self._connection, message.reply, f"{self._inbox}.{token}")
        call.task = asyncio.create_task(self._run(token, call, message), name="stream")
        if len(self._calls) >= self._capacity:
            self._leave()

    async def _refuse(self, message: Msg) -> None:
        with suppress(*AWAY):
            await self._connection.client.publish(message.reply, frame(BUSY, 0))

    async def _run(self, token: str, call: "_Call", message: Msg) -> None:
        try:
            await self._answer(call, message)
        finally:
            del self._calls[token]
            await self._join()

    async def _answer(self, call: "_Call", message: Msg) -> None:
        try:
            async with aclosing(self._respond(message.subject, message.data)) as pieces:
                async for piece in pieces:
                    await call.send(piece)
            await call.end()
        except (ApiError, TurnError) as error:
            await call.fail(error)
        except BusUnavailableError as error:
            log.warning("stream.broken_off", subject=message.subject, error=str(error))
        except asyncio.CancelledError:
            await call.fail(UnavailableError("The worker was stopped in the middle of its answer."))
            raise
        except Exception as error:  # noqa: BLE001 - one call's fault is logged, told, and ends that call
            log.error("stream.failed", subject=message.subject, **fault(error))
            await call.fail(ApiError("Turnstream failed to answer the request.", code="internal_error"))

    async def _on_word(self, message: Msg) -> None:
        call = self._calls.get(message.subject.rpartition(".")[2])
        if call is None:
            return
        if message.data.isdigit():
            call.acknowledged(int(message.data))
        else:  # CANCEL, or NATS's word that the asker is gone
            call.task.cancel()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT)
            for call in tuple(self._calls.values()):
                await call.beat()


class _Call:
    """One answer on its way to its asker."""

    task: asyncio.Task[None]

    def __init__(self, connection: Connection, asker: str, control: str) -> None:
        self._connection = connection
        self._asker = asker
        self._control = control  # where this end listens to the asker
        self._number = 0  # data frames sent
        self._sent = 0  # bytes
        self._acknowledged = 0  # bytes
        self._room = asyncio.Event()
        self._spoke = False  # since the last heartbeat

    async def send(self, data: bytes) -> None:
        """Send a piece as there is room for it; an empty one says something only where it is the first.

        Raises UnavailableError if the asker does not read, BusUnavailableError if NATS is away.
        """
        if self._number and not data:
            return
        for start in range(0, max(len(data), 1), FRAME):
            body = data[start : start + FRAME]
            await self._until_room(len(body))
            self._sent += len(body)
            data_frame = frame(DATA, self._number, body)
            self._number += 1  # before anything is awaited: a heartbeat may come in between
            try:
                await self._send(data_frame, reply=self._control)
            except AWAY as error:
                raise BusUnavailableError(f"an answer cannot be sent: {type(error).__name__}") from error

    async def end(self) -> None:
        """Say that this is all."""
        with suppress(*AWAY):
            await self._send(frame(END, self._number))

    async def fail(self, failure: failures.Failure) -> None:
        """Say that no more comes, and why."""
        with suppress(*AWAY):
            await self._send(frame(FAILURE, self._number, failures.encode(failure)))

    async def beat(self) -> None:
        """Show that this end is alive, if it has said nothing since the last time."""
        if not self._spoke:
            with suppress(*AWAY):
                await self._send(frame(ALIVE, self._number), reply=self._control)
        self._spoke = False

    def acknowledged(self, read: int) -> None:
        """Take note that the asker has read so many bytes."""
        self._acknowledged = max(self._acknowledged, read)
        self._room.set()

    async def _until_room(self, size: int) -> None:
        while self._sent + size - self._acknowledged > WINDOW:
            self._room.clear()
            try:
                async with asyncio.timeout(STALL):
                    await self._room.wait()
            except TimeoutError as error:
                raise UnavailableError(f"The answer was not read for {STALL:g} seconds.") from error

    async def _send(self, data: bytes, *, reply: str = "") -> None:
        self._spoke = True
        await self._connection.client.publish(self._asker, data, reply=reply)
