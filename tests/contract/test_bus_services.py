"""Services and who asks them, on either bus."""

import asyncio

import pytest
from support.bus_log import SOON, subscribed

from turnstream import subjects
from turnstream.bus import Bus
from turnstream.errors import ApiError, BusUnavailableError, ModelError, NotFoundError, TooLargeError

# nats-py's micro services take the time in a way that Python 3.12 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning:nats")


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
