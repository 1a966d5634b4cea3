"""Turns whose clients go away: they go on, or, where that was asked for, end with their last reader."""

import asyncio
from contextlib import aclosing
from typing import Any

import httpx
import pytest
from support.deployment import Deployment, Gateway
from support.reader import NOTHING, TIMEOUT, Transcript, read_to_end, resume, start, tally

from turnstream.ids import new_id

SOON = 15  # seconds
ENDLESS = "[stand-in tokens=1000 delay_ms=50] Go on."
LONG = "[stand-in tokens=60 delay_ms=50] Go on."  # 3 seconds
AT_ONCE = {"on_disconnect": "cancel", "disconnect_grace": 0}
QUICK = {"on_disconnect": "cancel", "disconnect_grace": 1}


@pytest.fixture(scope="session")
async def other(deployment: Deployment) -> Gateway:
    """Another gateway of the deployment."""
    return await deployment.gateway()


async def left(gateway: Gateway, **body: Any) -> Transcript:
    """Begin a turn, and go away in the middle of its text."""
    transcript = Transcript()
    async with aclosing(start(gateway.url, transcript, **body)) as events:  # type: ignore[type-var]  # it is a generator
        async for event in events:
            if event["type"] == "response.output_text.delta":
                return transcript
    raise AssertionError("it has no text")


async def status(gateway: Gateway, turn: str) -> str:
    """Return a turn's status."""
    async with httpx.AsyncClient(base_url=gateway.url, timeout=TIMEOUT) as http:
        return str((await http.get(f"/v1/responses/{turn}")).json()["status"])


async def cancelled(gateway: Gateway, turn: str) -> None:
    """Wait until a turn is cancelled, without reading it."""
    async with asyncio.timeout(SOON):
        while (now := await status(gateway, turn)) != "cancelled":
            assert now == "in_progress"


async def test_goes_on(gateway: Gateway) -> None:
    """A turn goes on when its client goes away, unless it was told otherwise."""
    transcript = await left(gateway, input="[stand-in tokens=20 delay_ms=20] Go on.")
    await read_to_end(gateway.url, transcript)
    assert transcript.response["status"] == "completed"


async def test_ends_with_its_reader(gateway: Gateway) -> None:
    """A turn that is to end with its readers does, and shows that as any cancelled one."""
    transcript = await left(gateway, input=ENDLESS, **AT_ONCE)
    await cancelled(gateway, transcript.id)
    await read_to_end(gateway.url, transcript)
    assert transcript.response["status"] == "cancelled"
    assert tally([transcript]) == NOTHING


async def test_ends_with_who_waits_for_it(gateway: Gateway) -> None:
    """The same holds for a client that waits for the whole response."""
    mark = new_id("mark-")
    async with httpx.AsyncClient(base_url=gateway.url, timeout=TIMEOUT) as http:
        body = {"model": "stand-in", "input": ENDLESS, "metadata": {"mark": mark}, **AT_ONCE}
        waiting = asyncio.create_task(http.post("/v1/responses", json=body))
        async with asyncio.timeout(SOON):
            while not (turn := await _marked(http, mark)):
                pass
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    await cancelled(gateway, turn)


async def _marked(http: httpx.AsyncClient, mark: str) -> str | None:
    """Return the turn with a mark that has begun to run."""
    listed = (await http.get("/v1/responses")).json()["data"]
    begun = (turn["id"] for turn in listed if turn["metadata"] == {"mark": mark} and turn["status"] == "in_progress")
    return next(begun, None)


async def test_comes_back_elsewhere(gateway: Gateway, other: Gateway) -> None:
    """Who comes back in time, at whichever gateway, has all of it."""
    transcript = await left(gateway, input=LONG, **QUICK)
    await read_to_end(other.url, transcript)
    assert transcript.response["status"] == "completed"
    assert tally([transcript]) == NOTHING


@pytest.mark.parametrize("path", ["/v1/responses/{}?stream=true", "/v1/turns/{}/events"])
async def test_somebody_reads_elsewhere(gateway: Gateway, other: Gateway, path: str) -> None:
    """As long as anybody reads it, at whichever gateway, it goes on; it ends with the last one."""
    transcript = Transcript()
    begun = start(gateway.url, transcript, input=ENDLESS, **AT_ONCE)
    async with (
        httpx.AsyncClient(base_url=other.url, timeout=TIMEOUT) as http,
        aclosing(begun) as events,  # type: ignore[type-var]  # it is a generator
    ):
        await anext(events)
        async with http.stream("GET", path.format(transcript.id)) as answer:
            lines = answer.aiter_lines()
            await anext(lines)
            await events.aclose()  # type: ignore[attr-defined]
            # Who goes after it is not waited for any longer.
            await cancelled(gateway, (await left(gateway, input=ENDLESS, **AT_ONCE)).id)
            assert await status(other, transcript.id) == "in_progress"
            await anext(lines)
    await cancelled(other, transcript.id)


async def test_read_to_its_end(gateway: Gateway) -> None:
    """A turn that was read to its end has ended as it would have."""
    transcript = Transcript()
    async for _ in start(gateway.url, transcript, input="Hello.", **AT_ONCE):
        pass
    async for _ in resume(gateway.url, transcript):
        pass
    assert transcript.response["status"] == await status(gateway, transcript.id) == "completed"


async def test_gateway_stops(deployment: Deployment, gateway: Gateway) -> None:
    """A gateway that stops breaks its readers off itself: their turns go on."""
    stopping = await deployment.gateway(TURNSTREAM_GRACE="1")
    transcript, begun = Transcript(), asyncio.Event()
    reading = asyncio.create_task(_read(stopping, transcript, begun))
    async with asyncio.timeout(SOON):
        await begun.wait()
    await stopping.child.stop()
    with pytest.raises(httpx.TransportError):
        await reading
    assert await status(gateway, transcript.id) == "in_progress"
    await read_to_end(gateway.url, transcript)
    assert transcript.response["status"] == "completed"


async def _read(gateway: Gateway, transcript: Transcript, begun: asyncio.Event) -> None:
    async for _ in start(gateway.url, transcript, input=LONG, **AT_ONCE):
        begun.set()
