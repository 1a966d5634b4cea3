"""Signals, who is present, and the bus's own health, on either bus."""

import asyncio

from support.bus_log import SOON, subscribed

from turnstream import subjects
from turnstream.bus import Bus


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


async def test_bus_in_order(gateway_bus: Bus) -> None:
    """A connected bus is healthy and has not failed."""
    assert await gateway_bus.healthy()
    assert not gateway_bus.failed.is_set()
