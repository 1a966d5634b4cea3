"""What Turnstream does with NATS, in its own words: queue turns, append to a log, read it, follow it, ask a service."""

import asyncio
from base64 import b64decode
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import datetime
from typing import Any, Self

import orjson
from nats.aio.msg import Msg
from nats.errors import Error, NoRespondersError
from nats.micro import add_service
from nats.micro.request import ERROR_HEADER
from nats.micro.service import ServiceConfig

from turnstream import subjects
from turnstream.bus import failures
from turnstream.bus.answers import Answer, Answers
from turnstream.bus.connection import AWAY, END_OF_BATCH, Connection
from turnstream.bus.dead_letters import DeadLetters
from turnstream.bus.endpoint import Endpoint
from turnstream.bus.stream_service import Respond, StreamService
from turnstream.bus.tail import BATCH_HEADER, Stored, Tail, stored
from turnstream.bus.work_queue import WorkQueue
from turnstream.errors import BusUnavailableError, EventTooLargeError, FencedError, QueueFullError, TooLargeError
from turnstream.events import Batch
from turnstream.settings import Settings
from turnstream.subjects import Consumer

WRONG_LAST_SEQUENCE = 10071  # err_code of a publish whose expected last sequence is not the last one
NOT_FOUND = 10037  # err_code of a read that found no message
STORE_FAILED = 10077  # err_code of a publish that was not stored, for the reason that its description tells
FULL = "maximum "  # messages, messages per subject or bytes exceeded
HEADER_ROOM = 256  # bytes kept free for a batch's headers: the server counts them, and cuts off who sends too much
REPLAY_BATCH = 256  # messages asked for in one direct get
REPLAY_PAUSE = 0.1  # seconds before it is asked for again


class Bus:
    """The bus as the services use it. Calls that need an answer raise BusUnavailableError when none came in time."""

    def __init__(self, settings: Settings, service: str) -> None:
        self._settings = settings
        self._connection = Connection(settings, service)
        self._answers = Answers(self._connection)
        self.dead_letters = DeadLetters(self._connection)
        # Writers of logs hold it while they append: what is added to a log meanwhile goes out with its next batch.
        self.appending = asyncio.Semaphore(settings.appends)

    @classmethod
    async def connect(cls, settings: Settings, service: str) -> Self:
        """Return a connected bus; `service` names the inbox prefix that the service's user may use."""
        bus = cls(settings, service)
        await bus._connection.open()
        return bus

    async def close(self) -> None:
        """Send what is buffered and close."""
        await self._answers.close()
        await self._connection.close()

    @property
    def failed(self) -> asyncio.Event:
        """Set when the connection cannot heal itself and the process must end."""
        return self._connection.failed

    # The work queue

    async def enqueue(self, tenant: str, turn: str, message_id: str, *, patience: float) -> None:
        """Queue a turn for the workers; the same `message_id` queues it once. Tries for `patience` seconds.

        Raises QueueFullError, at once, if the queue holds as much as it may, in all or of this tenant.
        """
        subject = subjects.turns(tenant)
        headers = {"Nats-Msg-Id": message_id}
        answer = await self._connection.request(subject, turn.encode(), headers, patience=patience)
        if "error" not in (refusal := orjson.loads(answer.data)):
            return
        error = refusal["error"]
        if error.get("err_code") == STORE_FAILED and str(error.get("description")).startswith(FULL):
            raise QueueFullError(f"the queue is full: {error['description']}")
        raise BusUnavailableError(f"the queue refused a turn: {error.get('description')}")

    def work(self, consumer: Consumer, capacity: int) -> WorkQueue:
        """Return the consumer's deliveries, at most `capacity` of them held at a time; use it with `async with`."""
        return WorkQueue(self._connection, consumer, capacity)

    async def give_back(self, receipt: str) -> None:
        """Give another's delivery back for it, which may have died: it comes again at once, before what waits."""
        with suppress(*AWAY):
            await self._connection.client.publish(receipt, Msg.Ack.Nak)

    async def waited(self, consumer: Consumer) -> float | None:
        """Return for how many seconds the next message has waited for its first delivery, or None if none waits.

        Raises BusUnavailableError.
        """
        asked = await self._connection.request(f"$JS.API.CONSUMER.INFO.{consumer.stream}.{consumer.name}", b"")
        state = orjson.loads(asked.data)
        if "error" in state:
            raise BusUnavailableError(f"the queue's state cannot be read: {state['error'].get('description')}")
        if not state["num_pending"]:
            return None
        place = {"seq": state["delivered"]["stream_seq"] + 1, "next_by_subj": consumer.subject}
        subject = f"$JS.API.DIRECT.GET.{consumer.stream}"
        headers = (await self._connection.request(subject, orjson.dumps(place))).headers or {}
        if "Nats-Time-Stamp" not in headers:
            return None  # it was delivered and settled meanwhile
        since = datetime.fromisoformat(headers["Nats-Time-Stamp"])
        return (datetime.fromisoformat(state["ts"]) - since).total_seconds()

    # The log of a turn

    @property
    def event_limit(self) -> int:
        """Bytes that an event may have, alone in its batch."""
        return self._connection.client.max_payload - HEADER_ROOM

    async def append(self, subject: str, batch: Batch, expected: int, *, age: int | None = None) -> int:
        """Store a batch behind stream sequence `expected` of its log (0: an empty log); return its sequence.

        It is kept for `age` seconds, or for as long as the stream keeps everything.

        The server compares and stores in one step, so only one writer can go on. A batch whose answer was lost is sent
        again; refused, it is told from a successor's by its header. Raises FencedError if another writer has gone on.
        """
        payload = batch.payload()
        if len(payload) > self.event_limit:
            raise EventTooLargeError(f"a batch of {len(payload)} bytes is larger than a message may be")
        headers = {"Nats-Expected-Last-Subject-Sequence": str(expected), BATCH_HEADER: batch.header()}
        if age is not None:
            headers["Nats-TTL"] = f"{age}s"  # NATS architecture decision record 43
        answer = orjson.loads((await self._connection.request(subject, payload, headers)).data)
        if "error" not in answer:
            return int(answer["seq"])
        if answer["error"].get("err_code") != WRONG_LAST_SEQUENCE:
            raise BusUnavailableError(f"the log refused a batch: {answer['error'].get('description')}")
        last = await self.end(subject)
        if last is not None and last.batch == batch:
            return last.sequence
        raise FencedError("another attempt has written to the log", attempt=last.batch.attempt if last else 0)

    async def end(self, subject: str) -> Stored | None:
        """Return the last batch of a log as the stream's leader holds it, or None for an empty log."""
        body = orjson.dumps({"last_by_subj": subject})
        name = subjects.EVENTS.name
        answer = orjson.loads((await self._connection.request(f"$JS.API.STREAM.MSG.GET.{name}", body)).data)
        if "error" in answer:
            if answer["error"].get("err_code") == NOT_FOUND:
                return None
            raise BusUnavailableError(f"the end of a log cannot be read: {answer['error'].get('description')}")
        return _from_api(answer["message"])

    async def replay(self, subject: str, after: int) -> AsyncGenerator[Stored, None]:
        """Yield a log's batches behind stream sequence `after`, in order, as far as they are stored now.

        While nothing comes it is asked for again, for at most `bus_patience` seconds; then raises BusUnavailableError.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._settings.bus_patience
        pending = True
        while pending:
            try:
                wanted = {"batch": REPLAY_BATCH, "seq": after + 1, "next_by_subj": subject}
                async for message in self._connection.direct_get(subjects.EVENTS.name, wanted):
                    status = (message.headers or {}).get("Status")
                    if status is None:
                        batch = stored(message)
                        after = batch.sequence
                        deadline = loop.time() + self._settings.bus_patience
                        yield batch
                    elif status in END_OF_BATCH:
                        pending = int((message.headers or {}).get("Nats-Num-Pending", 0)) > 0
                    else:
                        raise BusUnavailableError(f"a log cannot be read: status {status}")
            except AWAY as error:
                if loop.time() > deadline or self._connection.client.is_closed:
                    raise BusUnavailableError(f"a log cannot be read: {type(error).__name__}") from error
                await asyncio.sleep(REPLAY_PAUSE)

    def tail(self, subject: str) -> Tail:
        """Return the live tail of a log; use it with `async with`."""
        return Tail(self._connection, subject)

    # Signals and services

    async def signal(self, subject: str) -> None:
        """Tell whoever listens now; nobody needs to."""
        with suppress(*AWAY):
            await self._connection.client.publish(subject)

    async def on_signal(self, subject: str, react: Callable[[str], None]) -> None:
        """Call `react(subject)` for every signal on `subject` until the bus is closed."""

        async def on_message(message: Msg) -> None:
            react(message.subject)

        await self._connection.client.subscribe(subject, cb=on_message)

    @asynccontextmanager
    async def present(self, subject: str) -> AsyncIterator[None]:
        """Be present on `subject`, as `anyone` tells, for as long as the context lasts."""

        async def answer(message: Msg) -> None:
            with suppress(*AWAY):
                await message.respond(b"")

        subscription = await self._connection.client.subscribe(subject, cb=answer)
        try:
            yield
        finally:
            with suppress(Error):  # the connection is away, and the subscription with it
                await subscription.unsubscribe()

    async def anyone(self, subject: str) -> bool:
        """Tell whether anybody is present on `subject`; raise BusUnavailableError if that cannot be told."""
        try:
            await self._connection.request_once(subject, b"", self._settings.bus_timeout)
        except NoRespondersError:
            return False
        except AWAY as error:
            raise BusUnavailableError(f"no answer on {subject}: {type(error).__name__}") from error
        return True

    async def ask(self, subject: str, within: float, payload: Any = None) -> Any:
        """Return what a service answers on `subject` to a payload of JSON.

        Raises the ApiError or TurnError that it answers with; BusUnavailableError if it fails otherwise or says
        nothing for so many seconds; TooLargeError if a message cannot hold the payload.
        """
        data = orjson.dumps(payload)
        self._check_size(data)
        try:
            answer = await self._connection.request_once(subject, data, within)
        except NoRespondersError as error:
            raise BusUnavailableError(f"nobody serves {subject}") from error
        except AWAY as error:
            raise BusUnavailableError(f"no answer on {subject}: {type(error).__name__}") from error
        if ERROR_HEADER not in (answer.headers or {}):
            return orjson.loads(answer.data)
        if answer.data:
            raise failures.decode(answer.data)
        raise BusUnavailableError(f"{subject} failed")

    async def serve(self, name: str, endpoints: dict[str, Callable[[Any], Awaitable[Any]]]) -> None:
        """Answer `<name>.<endpoint>` as a NATS micro service: each request goes to one of the processes that serve it.

        An endpoint gets the payload and returns the answer, both of JSON. The ApiError or TurnError that it raises
        is the asker's; any other error is logged, and the asker learns only that there was one.
        """
        config = ServiceConfig(name=name, version="0.1.0")
        service = await add_service(self._connection.client, config)
        group = service.add_group(name=name)
        for endpoint, answer in endpoints.items():
            handler = Endpoint(f"{name}.{endpoint}", answer, self._connection.client.max_payload)
            await group.add_endpoint(name=endpoint, handler=handler.handle)

    def stream(self, subject: str, payload: bytes) -> AbstractAsyncContextManager[Answer]:
        """Return the streamed answer to a payload; use it with `async with`, which calls off what is left unread.

        Raises TooLargeError if a message cannot hold the payload, and BusUnavailableError if NATS is away.
        """
        self._check_size(payload)
        return self._answers.to(subject, payload)

    async def serve_streams(self, subject: str, respond: Respond, capacity: int) -> StreamService:
        """Answer what comes on `subject` by streams, at most `capacity` at a time, until the service is stopped.

        A process that is full gets nothing more: NATS gives it to another, or tells the asker that there is none.
        """
        service = StreamService(self._connection, subject, respond, capacity)
        await service.open()
        return service

    async def healthy(self) -> bool:
        """Tell whether the server answers within two seconds."""
        try:
            await self._connection.client.rtt(timeout=2)
        except AWAY:
            return False
        return True

    def _check_size(self, payload: bytes) -> None:
        if len(payload) > (limit := self._connection.client.max_payload):
            raise TooLargeError(f"The request is larger than {limit} bytes.", code="body_too_large")


def _from_api(message: dict[str, Any]) -> Stored:
    headers = b64decode(message["hdrs"]).decode()
    place = next(line for line in headers.split("\r\n") if line.startswith(f"{BATCH_HEADER}: "))
    payload = b64decode(message.get("data", ""))
    return Stored(int(message["seq"]), Batch.parse(place.partition(": ")[2], payload))
