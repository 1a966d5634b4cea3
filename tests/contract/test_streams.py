"""Streamed answers over a real NATS server, with the rights of the gateway and of the worker."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress

import pytest

from turnstream import subjects
from turnstream.bus import Answer, Bus, StreamService, stream_service
from turnstream.bus.frames import SILENCE, WINDOW
from turnstream.errors import (
    ApiError,
    BusUnavailableError,
    InvalidRequestError,
    ModelError,
    NotFoundError,
    TooLargeError,
    UnavailableError,
)
from turnstream.subjects import DEFAULT_TENANT

pytestmark = pytest.mark.parametrize("buses", ["nats"], indirect=True)

SOON = 5  # seconds within which what is to come comes
SUBJECT = subjects.inference("completions")

type Respond = Callable[[str, bytes], AsyncGenerator[bytes]]


async def echo(subject: str, payload: bytes) -> AsyncGenerator[bytes]:
    """Answer with what was asked, in two pieces."""
    yield b""
    yield subject.encode()
    yield payload


def refusing(error: Exception | None) -> Respond:
    """Make a service that refuses to begin."""

    async def respond(_subject: str, _payload: bytes) -> AsyncGenerator[bytes]:
        if error is not None:
            raise error
        yield b""

    return respond


class Tap:
    """A stream that begins at once and says what a test lets it say, and notes when it is called off."""

    def __init__(self, *, begins: bool = True) -> None:
        self.begins = begins
        self.pieces: asyncio.Queue[bytes] = asyncio.Queue()
        self.called = asyncio.Event()
        self.sent = 0  # bytes that were taken off it
        self.called_off = asyncio.Event()

    async def respond(self, _subject: str, _payload: bytes) -> AsyncGenerator[bytes]:
        """Pass the pieces on; an empty one is the last."""
        self.called.set()
        try:
            if self.begins:
                yield b""
            while piece := await self.pieces.get():
                yield piece
                self.sent += len(piece)
        except (asyncio.CancelledError, GeneratorExit):
            self.called_off.set()
            raise


async def settled(bus: Bus) -> None:
    """Wait until the server has seen what a bus has sent: it answers a connection's requests in their order."""
    async with aclosing(bus.replay(subjects.events(DEFAULT_TENANT, "none"), 0)) as replay:
        assert [stored async for stored in replay] == []


async def served(bus: Bus, respond: Respond, capacity: int = 8) -> StreamService:
    """Serve. Who asks from now on is answered."""
    return await bus.serve_streams(subjects.INFERENCE, respond, capacity)


async def rest(answer: Answer) -> bytes:
    """Return what is left of an answer that has begun."""
    parts = []
    while (part := await answer.next(SOON)) is not None:
        parts.append(part)
    return b"".join(parts)


async def ask(bus: Bus, payload: bytes = b"?") -> bytes:
    """Ask, and return the whole answer."""
    async with bus.stream(SUBJECT, payload) as answer:
        await answer.begin()
        return await rest(answer)


async def test_answer_comes_whole(gateway_bus: Bus, worker_bus: Bus) -> None:
    """An answer's pieces come in order and to their end."""
    await served(worker_bus, echo)
    assert await ask(gateway_bus, b"what?") == SUBJECT.encode() + b"what?"


async def test_pieces_come_as_they_are_sent(gateway_bus: Bus, worker_bus: Bus) -> None:
    """A piece is there before the next one is made, and silence is told from the end."""
    tap = Tap()
    await served(worker_bus, tap.respond)
    async with gateway_bus.stream(SUBJECT, b"") as answer:
        await answer.begin()
        for piece in (b"one", b"two"):
            tap.pieces.put_nowait(piece)
            assert await answer.next(SOON) == piece
        with pytest.raises(TimeoutError):
            await answer.next(0.01)
        assert not answer.whole
        tap.pieces.put_nowait(b"")
        assert await answer.next(SOON) is None
        assert answer.whole


async def test_large_answer(gateway_bus: Bus, worker_bus: Bus, max_payload: int) -> None:
    """An answer may be larger than a message, even if it is made in one piece."""
    whole = bytes(range(256)) * (2 * max_payload // 256)

    async def respond(_subject: str, _payload: bytes) -> AsyncGenerator[bytes]:
        yield whole

    await served(worker_bus, respond)
    assert await ask(gateway_bus) == whole


async def test_too_large_request(gateway_bus: Bus, max_payload: int) -> None:
    """A request that a message cannot hold is refused as that, and does not cost the connection."""
    with pytest.raises(TooLargeError):
        await ask(gateway_bus, bytes(max_payload + 1))
    assert await gateway_bus.healthy()


@pytest.mark.parametrize(
    "error",
    [
        InvalidRequestError("No.", code="invalid_value", param="model"),
        NotFoundError("Not there."),
        ModelError("Slow down.", code="rate_limit_exceeded", status=429, retry_after=1.5),
        ModelError("Too long.", code="context_length_exceeded", param="messages", status=400),
    ],
)
async def test_refusal(gateway_bus: Bus, worker_bus: Bus, error: ApiError | ModelError) -> None:
    """What an answer is refused with is raised at the asker as it was, instead of beginning."""
    await served(worker_bus, refusing(error))
    with pytest.raises(type(error)) as refused:
        await ask(gateway_bus)
    assert vars(refused.value) == vars(error)
    assert str(refused.value) == str(error)


async def test_failure_in_the_middle(gateway_bus: Bus, worker_bus: Bus) -> None:
    """What came before a failure is handed on before it is raised."""

    async def respond(_subject: str, _payload: bytes) -> AsyncGenerator[bytes]:
        yield b"so far"
        raise ModelError("Broken.")

    await served(worker_bus, respond)
    async with gateway_bus.stream(SUBJECT, b"") as answer:
        await answer.begin()
        assert await answer.next(SOON) == b"so far"
        with pytest.raises(ModelError, match="Broken"):
            await answer.next(SOON)


async def test_fault_is_not_told(gateway_bus: Bus, worker_bus: Bus) -> None:
    """Of an error that nobody foresaw the asker learns only that there was one, and the service goes on."""

    async def respond(_subject: str, _payload: bytes) -> AsyncGenerator[bytes]:
        yield b""
        raise RuntimeError("a secret")

    await served(worker_bus, respond)
    for _ in range(2):
        with pytest.raises(ApiError) as failed:
            await ask(gateway_bus)
        assert "secret" not in str(failed.value)


async def test_nobody_answers(gateway_bus: Bus) -> None:
    """Where nobody serves an asker learns it at once."""
    async with asyncio.timeout(SILENCE / 2):
        with pytest.raises(BusUnavailableError):
            await ask(gateway_bus)


async def test_full(gateway_bus: Bus, worker_bus: Bus) -> None:
    """A process that is full is as good as absent, until one of its calls has ended."""
    tap = Tap()
    await served(worker_bus, tap.respond, capacity=1)
    for _ in range(3):
        async with gateway_bus.stream(SUBJECT, b"") as first:
            await first.begin()
            with pytest.raises(BusUnavailableError):
                await ask(gateway_bus)
            tap.pieces.put_nowait(b"yes")
            tap.pieces.put_nowait(b"")
            assert await rest(first) == b"yes"
        await settled(worker_bus)  # by now it has asked for the next one


async def test_others_take_what_one_cannot(gateway_bus: Bus, worker_bus: Bus) -> None:
    """Calls go to whoever has room: as many at a time as all processes together take."""
    taps = [Tap() for _ in range(3)]
    for tap in taps:
        await served(worker_bus, tap.respond, capacity=4)
    asked = [gateway_bus.stream(SUBJECT, b"") for _ in range(12)]
    answers = [await one.__aenter__() for one in asked]
    await asyncio.gather(*(answer.begin() for answer in answers))
    with pytest.raises(BusUnavailableError):
        await ask(gateway_bus)
    for tap in taps:
        for piece in [b"x"] * 4 + [b""] * 4:
            tap.pieces.put_nowait(piece)
    assert b"".join([await rest(answer) for answer in answers]) == b"x" * 12
    for one in asked:
        await one.__aexit__(None, None, None)


async def test_many_in_a_row(gateway_bus: Bus, worker_bus: Bus) -> None:
    """A process goes on being asked, however many calls it has answered, one by one or many at once."""
    await served(worker_bus, echo, capacity=4)
    for number in range(25):
        assert (await ask(gateway_bus, b"%d" % number)).endswith(b"%d" % number)

    async def insist(number: int) -> bytes:
        while True:
            with suppress(BusUnavailableError):
                return await ask(gateway_bus, b".%d" % number)

    async with asyncio.timeout(SOON):
        answers = await asyncio.gather(*map(insist, range(50)))
    assert [answer.rpartition(b".")[2] for answer in answers] == [b"%d" % number for number in range(50)]


async def test_reader_leaves_in_the_middle(gateway_bus: Bus, worker_bus: Bus) -> None:
    """An answer that nobody reads any more is called off at its source."""
    tap = Tap()
    await served(worker_bus, tap.respond)
    tap.pieces.put_nowait(b"some")
    async with gateway_bus.stream(SUBJECT, b"") as answer:
        await answer.begin()
        assert await answer.next(SOON) == b"some"
    async with asyncio.timeout(0.5):
        await tap.called_off.wait()


async def test_reader_leaves_before_the_beginning(gateway_bus: Bus, worker_bus: Bus) -> None:
    """So is one that had not begun yet when its reader left."""
    tap = Tap(begins=False)
    await served(worker_bus, tap.respond)
    async with gateway_bus.stream(SUBJECT, b"") as answer, asyncio.timeout(SOON):
        beginning = asyncio.create_task(answer.begin())
        await tap.called.wait()
        answer.stop()
        await beginning
    async with asyncio.timeout(2):
        await tap.called_off.wait()


async def test_reader_is_stopped(gateway_bus: Bus, worker_bus: Bus) -> None:
    """A reader that waits can be told from aside to wait no more."""
    tap = Tap()
    await served(worker_bus, tap.respond)
    async with gateway_bus.stream(SUBJECT, b"") as answer, asyncio.timeout(SOON):
        await answer.begin()
        asyncio.get_running_loop().call_soon(answer.stop)
        assert await answer.next() is None


async def test_asker_dies(gateway_bus: Bus, worker_bus: Bus) -> None:
    """A process that dies while its answer comes is noticed, and the answer called off at its source."""
    tap = Tap()
    await served(worker_bus, tap.respond)
    async with gateway_bus.stream(SUBJECT, b"") as answer:
        tap.pieces.put_nowait(b"some")
        await answer.begin()
        await gateway_bus.close()
        async with asyncio.timeout(SOON):
            await tap.called_off.wait()


async def test_answering_process_dies(gateway_bus: Bus, worker_bus: Bus) -> None:
    """A process that dies in the middle of its answer is noticed within seconds; what it had said is handed on."""
    tap = Tap()
    await served(worker_bus, tap.respond)
    async with gateway_bus.stream(SUBJECT, b"") as answer:
        tap.pieces.put_nowait(b"some")
        await answer.begin()
        await worker_bus.close()
        assert await answer.next(SOON) == b"some"
        async with asyncio.timeout(SILENCE / 2):
            with pytest.raises(BusUnavailableError):
                await answer.next()


async def test_silent_model_is_no_dead_process(gateway_bus: Bus, worker_bus: Bus) -> None:
    """An answer whose source is silent for longer than a process may be goes on."""
    tap = Tap()
    await served(worker_bus, tap.respond)
    async with gateway_bus.stream(SUBJECT, b"") as answer:
        await answer.begin()
        with pytest.raises(TimeoutError):
            await answer.next(SILENCE + 1.5)
        tap.pieces.put_nowait(b"at last")
        assert await answer.next(SOON) == b"at last"


async def test_lost_frame(gateway_bus: Bus, worker_bus: Bus) -> None:
    """An answer of which a part was lost is broken off, and never put together from what is left."""
    tap = Tap()
    await served(worker_bus, tap.respond)
    async with gateway_bus.stream(SUBJECT, b"") as answer:
        await answer.begin()
        tap.pieces.put_nowait(b"one")
        assert await answer.next(SOON) == b"one"
        answer._arrived -= 1
        tap.pieces.put_nowait(b"three")
        with pytest.raises(BusUnavailableError, match="lost"):
            await answer.next(SOON)


async def test_slow_reader(gateway_bus: Bus, worker_bus: Bus) -> None:
    """An answer waits for its reader: no more than the window is on its way, and nothing is lost in the end."""
    tap = Tap()
    await served(worker_bus, tap.respond)
    piece, count = bytes(WINDOW // 16), 100
    for _ in range(count):
        tap.pieces.put_nowait(piece)
    tap.pieces.put_nowait(b"")
    async with gateway_bus.stream(SUBJECT, b"") as answer:
        await answer.begin()
        for _ in range(10):  # whatever the worker would go on to send, it would have sent by now
            await settled(worker_bus)
            await settled(gateway_bus)
        assert tap.sent <= WINDOW
        assert await rest(answer) == piece * count


async def test_reader_that_has_stopped(gateway_bus: Bus, worker_bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that is not read at all does not keep its place for ever."""
    monkeypatch.setattr(stream_service, "STALL", 0.1)
    tap = Tap()
    await served(worker_bus, tap.respond)
    async with gateway_bus.stream(SUBJECT, b"") as answer:
        await answer.begin()
        for _ in range(5):
            tap.pieces.put_nowait(bytes(WINDOW // 2))
        async with asyncio.timeout(SOON):
            await tap.called_off.wait()
        with pytest.raises(UnavailableError, match="not read"):
            await rest(answer)


async def test_nats_is_away(gateway_bus: Bus) -> None:
    """Without NATS an asker learns it at once, and its request is not sent later."""
    await gateway_bus._connection.client.close()
    with pytest.raises(BusUnavailableError, match="away"):
        await ask(gateway_bus)


async def test_stop(gateway_bus: Bus, worker_bus: Bus) -> None:
    """A service that is stopped takes nothing new, ends what it can in the time it has, and breaks off the rest."""
    quick, slow = Tap(), Tap()
    taps = iter((quick, slow))

    def respond(subject: str, payload: bytes) -> AsyncGenerator[bytes]:
        return next(taps).respond(subject, payload)

    service = await served(worker_bus, respond)
    async with gateway_bus.stream(SUBJECT, b"") as first, gateway_bus.stream(SUBJECT, b"") as second:
        for tap, answer in ((quick, first), (slow, second)):
            await answer.begin()
            tap.pieces.put_nowait(b"some")
            assert await answer.next(SOON) == b"some"
        stopping = asyncio.create_task(service.stop(0.5))
        await asyncio.sleep(0)  # it has begun
        await settled(worker_bus)
        with pytest.raises(BusUnavailableError):
            await ask(gateway_bus)
        quick.pieces.put_nowait(b"")
        assert await first.next(SOON) is None
        with pytest.raises(UnavailableError):
            await second.next(SOON)
        await stopping
