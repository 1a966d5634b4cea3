"""The asking end of streamed answers: it checks that nothing is missing, bounds what waits, and notices silence."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from uuid import uuid4

from nats.aio.msg import Msg

from turnstream import subjects
from turnstream.bus import failures
from turnstream.bus.connection import AWAY, Connection
from turnstream.bus.frames import BUSY, CANCEL, DATA, END, FAILURE, READ, SILENCE, parse
from turnstream.bus.replies import NO_RESPONDERS
from turnstream.errors import BusUnavailableError, TurnstreamError

WATCH = 1.0  # seconds between two looks at all answers under way
TRIES = 8  # times that a request is sent while those whom it reaches are busy


class Answer:
    """One streamed answer: asked for by `begin`, read by `next`."""

    def __init__(self, connection: Connection, inbox: str, subject: str, payload: bytes) -> None:
        self.heard_at = asyncio.get_running_loop().time()
        self._connection = connection
        self._inbox = inbox
        self._subject = subject
        self._payload = payload
        self._control = ""  # where the answering end listens, once it has said so
        self._waiting: deque[bytes] = deque()
        self._arrived = 0  # data frames
        self._read = 0  # bytes that were handed on
        self._acknowledged = 0  # of them, what the answering end knows of
        self._busy = False  # whether whoever was asked has no room
        self._settled = False  # whether the answering end has nothing more to say
        self._failure: TurnstreamError | None = None
        self._stopped = False
        self._changed = asyncio.Event()

    @property
    def whole(self) -> bool:
        """Whether all of it has arrived and was handed on."""
        return self._settled and self._failure is None and not self._waiting

    async def begin(self) -> None:
        """Ask, and wait until the answer has begun.

        Raises what the service fails with instead, or BusUnavailableError where nobody takes or begins it.
        """
        for _ in range(TRIES):
            self._busy = False
            await self._ask()
            while not (self._arrived or self._over or self._busy):
                self._changed.clear()
                await self._changed.wait()
            if self._failure and not self._arrived:
                raise self._failure
            if self._arrived or self._over:
                return
        raise BusUnavailableError("all who could answer are busy")

    async def next(self, within: float | None = None) -> bytes | None:
        """Return what has arrived since, or None at the end.

        Raises TimeoutError when nothing came within so many seconds (None: as long as the answering end is alive), and
        what a failing answer ends with.
        """
        if not (self._waiting or self._over):
            self._changed.clear()
            # A bare timer: asyncio.timeout costs as much as all the rest of this.
            timer = asyncio.get_running_loop().call_later(within, self._changed.set) if within else None
            try:
                await self._changed.wait()
            finally:
                if timer:
                    timer.cancel()
        if self._waiting:
            return await self._take()
        if self._failure:
            raise self._failure
        if self._over:
            return None
        raise TimeoutError

    def stop(self) -> None:
        """End `begin` and `next` as soon as they are waiting: the reader has gone."""
        self._stopped = True
        self._waiting.clear()
        self._changed.set()

    async def abandon(self) -> None:
        """Tell the answering end, if it has more to say, that nobody reads on."""
        if not self._settled:
            self._settled = True
            await self._say(CANCEL)

    async def acknowledge(self) -> None:
        """Tell the answering end how much was read, and that this end is there."""
        self._acknowledged = self._read
        await self._say(b"%d" % self._read)

    def arrive(self, message: Msg) -> None:
        """Take in a frame, or NATS's word that nobody is at the other end."""
        self.heard_at = asyncio.get_running_loop().time()
        if message.headers and message.headers.get("Status") == NO_RESPONDERS:
            self.fail("nobody is there to answer")
            return
        kind, number, body = parse(message.data)
        self._control = message.reply or self._control
        if number != self._arrived:
            self.fail("a part of an answer was lost")
        elif kind == DATA:
            self._arrived += 1
            if body and not self._stopped:
                self._waiting.append(body)
            self._changed.set()
        elif kind == BUSY:
            self._busy = True
            self._changed.set()
        elif kind in {END, FAILURE}:
            self._settled = True
            self._failure = failures.decode(body) if kind == FAILURE else None
            self._changed.set()

    def fail(self, reason: str) -> None:
        """End the answer with BusUnavailableError."""
        self._failure = self._failure or BusUnavailableError(reason)
        self._changed.set()

    @property
    def _over(self) -> bool:
        return self._settled or self._failure is not None or self._stopped

    async def _ask(self) -> None:
        self.heard_at = asyncio.get_running_loop().time()
        try:
            await self._connection.client.publish(self._subject, self._payload, reply=self._inbox)
        except AWAY as error:
            raise BusUnavailableError(f"{self._subject} cannot be asked: {type(error).__name__}") from error

    async def _take(self) -> bytes:
        data = self._waiting[0] if len(self._waiting) == 1 else b"".join(self._waiting)
        self._waiting.clear()
        self._read += len(data)
        if self._read - self._acknowledged >= READ and not self._settled:
            await self.acknowledge()
        return data

    async def _say(self, word: bytes) -> None:
        if self._control:
            # With an address for answers NATS says if nobody listens any more.
            with suppress(*AWAY):
                await self._connection.client.publish(self._control, word, reply=self._inbox)


class Answers:
    """The answers under way to one process, on one subscription for all."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._inbox = f"{subjects.STREAM_ANSWERS}.{uuid4().hex}"
        self._asked = 0
        self._under_way: dict[str, Answer] = {}
        self._watch: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Stop watching."""
        if self._watch:
            self._watch.cancel()

    @asynccontextmanager
    async def to(self, subject: str, payload: bytes) -> AsyncIterator[Answer]:
        """Yield the answer to a request, to be begun; what is left unread is called off.

        Raises BusUnavailableError if NATS is away: the request would be sent later, when nobody waits any more.
        """
        if not self._connection.client.is_connected:
            raise BusUnavailableError(f"{subject} cannot be asked: NATS is away")
        if self._watch is None:
            await self._open()
        self._asked += 1
        token = str(self._asked)
        answer = self._under_way[token] = Answer(self._connection, f"{self._inbox}.{token}", subject, payload)
        try:
            yield answer
        finally:
            del self._under_way[token]
            await answer.abandon()

    async def _open(self) -> None:
        # At the first question: not every process asks any, or may.
        self._watch = asyncio.create_task(self._watch_over_all(), name="bus.answers")
        self._watch.add_done_callback(lambda _: self._connection.failed.set())
        await self._connection.client.subscribe(f"{self._inbox}.*", cb=self._on_frame)

    async def _on_frame(self, message: Msg) -> None:
        answer = self._under_way.get(message.subject.rpartition(".")[2])
        if answer:
            answer.arrive(message)
        elif message.reply:  # it goes on, and whoever asked went away before it was known where to say so
            with suppress(*AWAY):
                await self._connection.client.publish(message.reply, CANCEL)

    async def _watch_over_all(self) -> None:
        while True:
            await asyncio.sleep(WATCH)
            now = asyncio.get_running_loop().time()
            for answer in tuple(self._under_way.values()):
                if now - answer.heard_at > SILENCE:
                    answer.fail("an answer has fallen silent")
                elif now - answer.heard_at > WATCH:
                    await answer.acknowledge()  # NATS says at once if nobody is there any more
