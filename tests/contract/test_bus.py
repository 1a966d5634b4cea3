"""Logs, tails, signals and services, held against the bus in memory and against a real NATS server alike."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing

import pytest

from turnstream import subjects
from turnstream.bus import Bus, Stored
from turnstream.bus.tail import TAIL_LIMIT
from turnstream.errors import (
    ApiError,
    BusUnavailableError,
    EventTooLargeError,
    FencedError,
    ModelError,
    NotFoundError,
    TooLargeError,
)
from turnstream.events import Batch, encode
from turnstream.ids import new_id
from turnstream.subjects import DEFAULT_TENANT

# nats-py's micro services take the time in a way that Python 3.12 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning:nats")

SOON = 5  # seconds within which what is to come comes

type LoseLogs = Callable[[], Awaitable[None]]


@pytest.fixture
def turn() -> str:
    """A turn that nothing was written about."""
    return new_id("resp_")


@pytest.fixture
def subject(turn: str) -> str:
    """The subject of the turn's log."""
    return subjects.events(DEFAULT_TENANT, turn)


def batch(first: int, count: int = 1, *, attempt: int = 1, size: int = 1) -> Batch:
    """Make a batch of events with `size` characters of text each."""
    lines = [encode("response.output_text.delta", first + i, {"delta": "x" * size}) for i in range(count)]
    return Batch(attempt, first, lines)


async def append(bus: Bus, subject: str, count: int) -> list[int]:
    """Append so many batches of one event to an empty log, and return their stream sequences."""
    sequences = [0]
    for number in range(count):
        sequences.append(await bus.append(subject, batch(number), sequences[-1]))
    return sequences[1:]


async def read(bus: Bus, subject: str, after: int = 0) -> list[Stored]:
    """Return what a log holds behind a stream sequence."""
    async with aclosing(bus.replay(subject, after)) as replay:
        return [stored async for stored in replay]


async def subscribed(bus: Bus) -> None:
    """Wait until a bus's subscriptions stand: the server answers a connection's requests in their order."""
    await read(bus, subjects.events(DEFAULT_TENANT, "none"))


# The log


async def test_append_goes_on_behind_the_last(worker_bus: Bus, subject: str) -> None:
    """Batches get growing stream sequences, and the log reads as it was written."""
    sequences = await append(worker_bus, subject, 3)
    assert sequences == sorted(set(sequences))
    assert [(stored.sequence, stored.batch) for stored in await read(worker_bus, subject)] == [
        (sequence, batch(number)) for number, sequence in enumerate(sequences)
    ]


async def test_logs_do_not_fence_each_other(worker_bus: Bus, subject: str) -> None:
    """Appending to one log does not move the end of another."""
    [first] = await append(worker_bus, subject, 1)
    await append(worker_bus, f"{subject}-other", 2)
    await worker_bus.append(subject, batch(1), first)


@pytest.mark.parametrize("expected", [0, 1])
async def test_stale_writer_is_fenced(worker_bus: Bus, subject: str, expected: int) -> None:
    """A batch that is not behind the last one is refused with its writer's attempt, and changes nothing."""
    sequences = [0, *await append(worker_bus, subject, 1)]
    last = await worker_bus.append(subject, batch(1, attempt=7), sequences[-1])
    with pytest.raises(FencedError) as refused:
        await worker_bus.append(subject, batch(1, attempt=1, size=2), sequences[expected])
    assert refused.value.attempt == 7
    assert [stored.sequence for stored in await read(worker_bus, subject)] == [sequences[1], last]


async def test_writer_ahead_of_an_empty_log_is_fenced(worker_bus: Bus, subject: str) -> None:
    """A batch that expects more than an empty log holds is refused, with nobody's attempt."""
    with pytest.raises(FencedError) as refused:
        await worker_bus.append(subject, batch(0), 123_456_789)
    assert refused.value.attempt == 0


async def test_repetition_is_recognised(worker_bus: Bus, subject: str) -> None:
    """A batch that is sent again, since its ack was lost, is stored once and answered with its sequence."""
    [before] = await append(worker_bus, subject, 1)
    sequence = await worker_bus.append(subject, batch(1, 2), before)
    assert await worker_bus.append(subject, batch(1, 2), before) == sequence
    assert len(await read(worker_bus, subject)) == 2


@pytest.mark.parametrize("other", [batch(0, attempt=2), batch(0, size=2), batch(0, 2)])
async def test_only_the_same_batch_is_a_repetition(worker_bus: Bus, subject: str, other: Batch) -> None:
    """A batch that differs in its attempt, its events or its count is no repetition of what is stored."""
    await append(worker_bus, subject, 1)
    with pytest.raises(FencedError):
        await worker_bus.append(subject, other, 0)


async def test_repetition_behind_a_successor_is_fenced(worker_bus: Bus, subject: str) -> None:
    """A writer whose batch was stored is fenced all the same once a successor stands behind it."""
    [first] = await append(worker_bus, subject, 1)
    await worker_bus.append(subject, batch(1, 0, attempt=2), first)
    with pytest.raises(FencedError) as refused:
        await worker_bus.append(subject, batch(0), 0)
    assert refused.value.attempt == 2


async def test_empty_batch_is_a_mark(worker_bus: Bus, subject: str) -> None:
    """A batch without events is stored as any other, keeps its place, and is recognised when it is repeated."""
    mark = batch(0, 0, attempt=2)
    sequence = await worker_bus.append(subject, mark, 0)
    assert await worker_bus.append(subject, mark, 0) == sequence
    assert [(stored.sequence, stored.batch) for stored in await read(worker_bus, subject)] == [(sequence, mark)]


async def test_too_large_batch_is_refused(worker_bus: Bus, subject: str, max_payload: int) -> None:
    """A batch that is larger than a message may be is refused as that, at once, and the log can go on."""
    with pytest.raises(EventTooLargeError):
        await worker_bus.append(subject, batch(0, size=max_payload), 0)
    await append(worker_bus, subject, 1)


async def test_headers_count_too(worker_bus: Bus, subject: str, max_payload: int) -> None:
    """A batch that is too large only with its headers is refused as that, and does not cost the connection."""
    size = max_payload - len(batch(0, size=0).payload())
    with pytest.raises(EventTooLargeError):
        await worker_bus.append(subject, batch(0, size=size), 0)
    await append(worker_bus, subject, 1)


async def test_end_of_a_log(worker_bus: Bus, subject: str) -> None:
    """The end is the last batch, and None for a log that nobody has written to."""
    assert await worker_bus.end(subject) is None
    sequences = await append(worker_bus, subject, 2)
    end = await worker_bus.end(subject)
    assert end is not None
    assert (end.sequence, end.batch) == (sequences[-1], batch(1))


async def test_empty_log_reads_empty(gateway_bus: Bus, subject: str) -> None:
    """A log that nobody has written to reads as empty."""
    assert await read(gateway_bus, subject) == []


async def test_reading_from_the_middle(worker_bus: Bus, gateway_bus: Bus, subject: str) -> None:
    """A log is read from behind any batch, whatever other logs lie between, and is empty behind its last."""
    sequences: list[int] = []
    for number in range(4):
        sequences.append(await worker_bus.append(subject, batch(number), sequences[-1] if sequences else 0))
        await append(worker_bus, f"{subject}-{number}", 2)
    for place, sequence in enumerate([0, *sequences]):
        stored = await read(gateway_bus, subject, sequence)
        assert [one.sequence for one in stored] == sequences[place:]


async def test_reading_a_long_log(worker_bus: Bus, gateway_bus: Bus, subject: str) -> None:
    """A log of more than twice what one read answers is read whole and in order."""
    sequences = await append(worker_bus, subject, 600)
    stored = await read(gateway_bus, subject)
    assert [one.sequence for one in stored] == sequences
    assert [one.batch.first for one in stored] == list(range(600))


# A log that is lost


async def test_lost_log(worker_bus: Bus, gateway_bus: Bus, subject: str, lose_logs: LoseLogs) -> None:
    """A log that was lost is empty, and whoever expects something in it is refused with nobody's attempt."""
    sequences = await append(worker_bus, subject, 2)
    await lose_logs()
    assert await worker_bus.end(subject) is None
    for after in (0, *sequences):
        assert await read(gateway_bus, subject, after) == []
    with pytest.raises(FencedError) as refused:
        await worker_bus.append(subject, batch(2), sequences[-1])
    assert refused.value.attempt == 0


async def test_lost_log_goes_on(
    worker_bus: Bus, gateway_bus: Bus, turn: str, subject: str, lose_logs: LoseLogs
) -> None:
    """A log that was lost takes any number behind nothing, with a new sequence; who listens hears it, or of a gap."""
    async with gateway_bus.tail(subjects.live(DEFAULT_TENANT, turn)) as tail:
        await subscribed(gateway_bus)
        sequences = await append(worker_bus, subject, 2)
        assert [await tail.next(SOON) for _ in sequences]
        await lose_logs()
        last = await worker_bus.append(subject, batch(2), 0)
        assert last > sequences[-1]
        assert await tail.next(SOON) in (None, Stored(last, batch(2)))
    assert await read(gateway_bus, subject) == [Stored(last, batch(2))]


# The live tail


async def test_tail_follows(worker_bus: Bus, gateway_bus: Bus, turn: str, subject: str) -> None:
    """The tail delivers what is appended, in order, each with its sequence in the stream."""
    async with gateway_bus.tail(subjects.live(DEFAULT_TENANT, turn)) as tail:
        await subscribed(gateway_bus)
        sequences: list[int] = []
        for number in range(5):
            sequences.append(await worker_bus.append(subject, batch(number), sequences[-1] if sequences else 0))
            await append(worker_bus, f"{subject}-{number}", 1)
        heard = [await tail.next(SOON) for _ in sequences]
    assert heard == [Stored(sequence, batch(number)) for number, sequence in enumerate(sequences)]


async def test_silent_tail_times_out(gateway_bus: Bus, turn: str) -> None:
    """A tail on which nothing comes says so after the time that it was given."""
    async with gateway_bus.tail(subjects.live(DEFAULT_TENANT, turn)) as tail:
        with pytest.raises(TimeoutError):
            await tail.next(0.01)


async def test_tail_can_be_woken(gateway_bus: Bus, turn: str) -> None:
    """A tail that is woken says so by None, once."""
    async with gateway_bus.tail(subjects.live(DEFAULT_TENANT, turn)) as tail:
        tail.wake()
        assert await tail.next(SOON) is None
        with pytest.raises(TimeoutError):
            await tail.next(0.01)


async def test_tail_overflows(worker_bus: Bus, gateway_bus: Bus, turn: str, subject: str) -> None:
    """A reader that falls behind loses its tail, is told so once, and finds all of it in the log."""
    async with gateway_bus.tail(subjects.live(DEFAULT_TENANT, turn)) as tail:
        await subscribed(gateway_bus)
        sequences = await append(worker_bus, subject, 2 * TAIL_LIMIT)
        assert await tail.next(SOON) is None
        assert [stored.sequence for stored in await read(gateway_bus, subject)] == sequences
        last = await worker_bus.append(subject, batch(len(sequences)), sequences[-1])
        async with asyncio.timeout(SOON):
            while (heard := await tail.next(SOON)) is None or heard.sequence < last:
                pass
        assert heard == Stored(last, batch(len(sequences)))


# Signals and services


async def test_signal_reaches_who_listens(gateway_bus: Bus, worker_bus: Bus, turn: str) -> None:
    """A signal reaches whoever listens for its kind, with its own subject."""
    heard: asyncio.Queue[str] = asyncio.Queue()
    await worker_bus.on_signal(subjects.cancel("*"), heard.put_nowait)
    await subscribed(worker_bus)
    await gateway_bus.signal(subjects.cancel(turn))
    async with asyncio.timeout(SOON):
        assert await heard.get() == subjects.cancel(turn)


async def test_signal_to_nobody(gateway_bus: Bus, turn: str) -> None:
    """A signal that nobody listens for is no error."""
    await gateway_bus.signal(subjects.cancel(turn))


async def test_presence(gateway_bus: Bus, turn: str) -> None:
    """Somebody is present on a subject as long as one who came has not left, and others' subjects are their own."""
    reader = subjects.reader(turn)
    async with asyncio.timeout(SOON):
        assert not await gateway_bus.anyone(reader)
        async with gateway_bus.present(reader):
            async with gateway_bus.present(reader):
                assert await gateway_bus.anyone(reader)
            assert await gateway_bus.anyone(reader)
            assert not await gateway_bus.anyone(subjects.reader(f"{turn}-other"))
        assert not await gateway_bus.anyone(reader)


async def test_asking_when_nobody_serves(gateway_bus: Bus) -> None:
    """Asking a service that nobody runs fails at once, and not by the time that it was given."""
    async with asyncio.timeout(SOON):
        with pytest.raises(BusUnavailableError, match="nobody serves"):
            await gateway_bus.ask(subjects.STACK_MODELS, 60)


async def test_asking_a_service(gateway_bus: Bus, worker_bus: Bus) -> None:
    """A service's answer comes back as the JSON that it was."""
    answer: list[dict[str, object]] = [{"id": "stand-in", "metadata": {"ü": None}}]

    async def models(_: object) -> list[dict[str, object]]:
        return answer

    await worker_bus.serve("stack", {"models": models})
    await subscribed(worker_bus)
    assert await gateway_bus.ask(subjects.STACK_MODELS, SOON) == answer


async def test_service_that_fails(gateway_bus: Bus, worker_bus: Bus) -> None:
    """A service that raises is told from one that nobody runs, and goes on serving."""

    async def models(_: object) -> None:
        raise RuntimeError("no models today")

    await worker_bus.serve("stack", {"models": models})
    await subscribed(worker_bus)
    for _ in range(2):
        with pytest.raises(BusUnavailableError, match="failed"):
            await gateway_bus.ask(subjects.STACK_MODELS, SOON)


async def test_service_gets_the_payload(gateway_bus: Bus, worker_bus: Bus) -> None:
    """A service gets what it was asked with, as the JSON that it was; nothing is None."""

    async def models(payload: object) -> object:
        return [payload]

    await worker_bus.serve("stack", {"models": models})
    await subscribed(worker_bus)
    for payload in ({"ü": [1, None]}, None):
        assert await gateway_bus.ask(subjects.STACK_MODELS, SOON, payload) == [payload]


@pytest.mark.parametrize(
    "error",
    [
        NotFoundError("Not there.", code="model_not_found", param="model"),
        ModelError("Slow down.", code="rate_limit_exceeded", status=429, retry_after=1.5),
    ],
)
async def test_service_that_refuses(gateway_bus: Bus, worker_bus: Bus, error: ApiError | ModelError) -> None:
    """An error that is made to be shown is raised at the asker as what it was."""

    async def models(_: object) -> None:
        raise error

    await worker_bus.serve("stack", {"models": models})
    await subscribed(worker_bus)
    with pytest.raises(type(error)) as refused:
        await gateway_bus.ask(subjects.STACK_MODELS, SOON)
    assert refused.value is not error
    assert vars(refused.value) == vars(error)


async def test_service_does_one_thing_beside_another(gateway_bus: Bus, worker_bus: Bus) -> None:
    """A request that takes its time does not hold up the next."""
    second_came = asyncio.Event()

    async def models(payload: object) -> object:
        if payload == "first":
            await second_came.wait()
        second_came.set()
        return payload

    await worker_bus.serve("stack", {"models": models})
    await subscribed(worker_bus)
    asked = [gateway_bus.ask(subjects.STACK_MODELS, SOON, payload) for payload in ("first", "second")]
    assert await asyncio.gather(*asked) == ["first", "second"]


async def test_asking_too_much(gateway_bus: Bus, max_payload: int) -> None:
    """A payload that a message cannot hold is refused as that, and does not cost the connection."""
    with pytest.raises(TooLargeError):
        await gateway_bus.ask(subjects.STACK_MODELS, SOON, "x" * max_payload)
    assert await gateway_bus.healthy()


async def test_answering_too_much(gateway_bus: Bus, worker_bus: Bus, max_payload: int) -> None:
    """A service whose answer a message cannot hold has failed, and goes on serving."""

    async def models(payload: object) -> object:
        return "x" * max_payload if payload else []

    await worker_bus.serve("stack", {"models": models})
    await subscribed(worker_bus)
    with pytest.raises(BusUnavailableError, match="failed"):
        await gateway_bus.ask(subjects.STACK_MODELS, SOON, payload=True)
    assert await gateway_bus.ask(subjects.STACK_MODELS, SOON) == []


async def test_silent_service(gateway_bus: Bus, worker_bus: Bus) -> None:
    """A service that does not answer in the time that it was given has failed."""
    release = asyncio.Event()

    async def models(_: object) -> bool:
        return await release.wait()

    await worker_bus.serve("stack", {"models": models})
    await subscribed(worker_bus)
    with pytest.raises(BusUnavailableError, match="no answer"):
        await gateway_bus.ask(subjects.STACK_MODELS, 0.05)
    release.set()


async def test_bus_in_order(gateway_bus: Bus) -> None:
    """A connected bus is healthy and has not failed."""
    assert await gateway_bus.healthy()
    assert not gateway_bus.failed.is_set()
