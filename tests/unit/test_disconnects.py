"""Turns that end with their readers: who reads, who is waited for, and what becomes of the turn."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import pytest

from turnstream.errors import ConflictError, NotFoundError, StoreUnavailableError
from turnstream.memory import MemoryBus
from turnstream_gateway import disconnects as disconnects_module
from turnstream_gateway.disconnects import Disconnects
from turnstream_gateway.turns import Turns

SOON = 5  # seconds
NEVER = 3600  # seconds; longer than any test
CANCEL = {"on_disconnect": "cancel"}


class RecordedTurns:
    """Turns of which nothing is known but which are cancelled."""

    def __init__(self) -> None:
        self.cancelled: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        self.error: Exception | None = None

    async def cancel(self, tenant: str, turn: str) -> None:
        """Record a cancelled turn; fail if there is an error to raise."""
        self.cancelled.put_nowait((tenant, turn))
        if self.error:
            raise self.error


class Gateways:
    """Two gateways on one bus."""

    def __init__(self, grace: float = 0) -> None:
        self.bus = MemoryBus()
        self.turns = RecordedTurns()
        self.one, self.other = (Disconnects(self.bus, cast("Turns", self.turns), grace) for _ in range(2))

    async def cancelled(self) -> str:
        """Return the next turn that is cancelled."""
        async with asyncio.timeout(SOON):
            return (await self.turns.cancelled.get())[1]

    async def close(self) -> None:
        """Close both, and see that nothing is left to be done."""
        await self.one.close()
        await self.other.close()
        assert self.turns.cancelled.empty()


async def read(gateway: Disconnects, turn: str, asked: dict[str, Any], *, gone: bool) -> None:
    """Read a turn, to its end or until the client has gone."""
    async with gateway.reading("default", turn, asked) as reading:
        reading.broken_off = gone


async def test_nobody_comes_back() -> None:
    """A turn whose reader has gone is cancelled when nobody has come back in time."""
    gateways = Gateways(grace=NEVER)
    await read(gateways.one, "resp_1", {**CANCEL, "disconnect_grace": 0}, gone=True)
    assert await gateways.cancelled() == "resp_1"
    await gateways.close()


async def test_default_grace() -> None:
    """How long that is the operator says where the request does not."""
    gateways = Gateways(grace=0)
    await read(gateways.one, "resp_1", CANCEL, gone=True)
    assert await gateways.cancelled() == "resp_1"
    await gateways.close()


@pytest.mark.parametrize(
    ("asked", "gone"), [(CANCEL, False), ({}, True), ({"on_disconnect": "continue"}, True)], ids=str
)
async def test_turn_goes_on(asked: dict[str, Any], gone: bool) -> None:
    """A turn that was read to its end, or that does not end with its readers, is left alone."""
    gateways = Gateways(grace=0)
    await read(gateways.one, "resp_1", asked, gone=gone)
    await read(gateways.one, "resp_2", CANCEL, gone=True)
    assert await gateways.cancelled() == "resp_2"  # and nothing before it
    await gateways.close()


@pytest.mark.parametrize("of", [lambda gateways: gateways.one, lambda gateways: gateways.other], ids=["same", "other"])
async def test_somebody_else_reads(of: Callable[[Gateways], Disconnects]) -> None:
    """As long as somebody reads the turn, on whichever gateway and however early they came, it goes on."""
    gateways = Gateways(grace=0)
    async with of(gateways).reading("default", "resp_1", CANCEL) as reading:
        await read(gateways.one, "resp_1", CANCEL, gone=True)
        await read(gateways.one, "resp_2", CANCEL, gone=True)
        assert await gateways.cancelled() == "resp_2"
        reading.broken_off = True
    assert await gateways.cancelled() == "resp_1"  # now that they have gone too
    await gateways.close()


async def test_last_wait_decides() -> None:
    """Who has come back and gone again is waited for anew, and no wait of before ends the turn meanwhile."""
    gateways = Gateways(grace=0)
    await read(gateways.other, "resp_1", {**CANCEL, "disconnect_grace": NEVER}, gone=True)
    await read(gateways.one, "resp_1", CANCEL, gone=True)
    await read(gateways.one, "resp_2", CANCEL, gone=True)
    assert await gateways.cancelled() == "resp_2"
    await gateways.close()


async def test_broken_off_by_the_gateway() -> None:
    """A reader that the gateway itself breaks off, since it fails or stops, is not waited for: the turn goes on."""
    gateways = Gateways(grace=0)
    with suppress(RuntimeError):
        async with gateways.one.reading("default", "resp_1", CANCEL) as reading:
            reading.broken_off = True
            raise RuntimeError
    await read(gateways.one, "resp_2", CANCEL, gone=True)
    assert await gateways.cancelled() == "resp_2"
    await gateways.close()


async def test_gateway_stops() -> None:
    """A gateway that stops waits for nobody any more, and leaves the turns to go on."""
    gateways = Gateways(grace=NEVER)
    await read(gateways.one, "resp_1", CANCEL, gone=True)
    assert await gateways.bus.anyone("control.reader.resp_1")
    async with asyncio.timeout(SOON):
        await gateways.close()
    assert not await gateways.bus.anyone("control.reader.resp_1")


@pytest.mark.parametrize("error", [ConflictError("ended"), NotFoundError("deleted"), StoreUnavailableError("away")])
async def test_cannot_be_cancelled(error: Exception) -> None:
    """A turn that has ended meanwhile, or a database that is away, is the end of it, and keeps no other waiting."""
    gateways = Gateways(grace=0)
    gateways.turns.error = error
    for turn in ("resp_1", "resp_2"):
        await read(gateways.one, turn, CANCEL, gone=True)
        assert await gateways.cancelled() == turn
    await gateways.close()


async def test_bus_is_away() -> None:
    """Where it cannot be told whether somebody reads the turn, it goes on."""
    gateways = Gateways(grace=0)
    gateways.bus.away = 1
    await read(gateways.one, "resp_1", CANCEL, gone=True)
    await read(gateways.one, "resp_2", CANCEL, gone=True)
    assert await gateways.cancelled() == "resp_2"
    await gateways.close()


async def test_waits_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where too many readers are waited for already, the turn goes on, and nobody else is kept from it."""
    monkeypatch.setattr(disconnects_module, "WAITS_LIMIT", 1)
    gateways = Gateways(grace=0)
    await read(gateways.one, "resp_1", {**CANCEL, "disconnect_grace": NEVER}, gone=True)
    await read(gateways.one, "resp_2", CANCEL, gone=True)
    await read(gateways.other, "resp_3", CANCEL, gone=True)
    assert await gateways.cancelled() == "resp_3"
    await gateways.close()
