"""Turns that run side by side in a worker, and those that have to be alone."""

import asyncio

import pytest

from turnstream_worker.gate import Gate

SOON = 5  # seconds
NOT = 0.01  # seconds in which nothing happens


class Visit:
    """A turn that comes in, may close the gate behind it, and goes when it is told to."""

    def __init__(self, gate: Gate, *, alone: bool = False, within: float = SOON) -> None:
        self.inside = asyncio.Event()
        self.alone = asyncio.Event()
        self.waiting: asyncio.Task[bool] | None = None
        self._end = asyncio.Event()
        self.task = asyncio.create_task(self._run(gate, alone, within))

    async def _run(self, gate: Gate, alone: bool, within: float) -> bool:
        """Return whether it was where it wanted to be."""
        async with gate.beside(within) as inside:
            if not inside:
                return False
            self.inside.set()
            if not alone:
                await self._end.wait()
                return True
            async with gate.alone(within) as self.waiting:
                await asyncio.wait([self.waiting])
                if not self.waiting.cancelled() and not self.waiting.result():
                    return False
                self.alone.set()
                await self._end.wait()
                return True

    async def go(self) -> None:
        """Go out."""
        self._end.set()
        assert await self.task


@pytest.fixture
def gate() -> Gate:
    """A gate that nobody has passed."""
    return Gate()


async def idle() -> None:
    """Let everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_side_by_side(gate: Gate) -> None:
    """Turns are in side by side as long as none has to be alone."""
    visits = [Visit(gate) for _ in range(3)]
    await asyncio.gather(*(visit.inside.wait() for visit in visits))
    for visit in visits:
        await visit.go()


async def test_alone(gate: Gate) -> None:
    """One that has to be alone waits for those inside, lets in nobody meanwhile, and lets them in when it goes."""
    before = Visit(gate)
    await before.inside.wait()
    loner = Visit(gate, alone=True)
    await idle()
    after = Visit(gate)
    await idle()
    assert loner.inside.is_set()
    assert not loner.alone.is_set()
    await before.go()
    await loner.alone.wait()
    await idle()
    assert not after.inside.is_set()
    await loner.go()
    await after.inside.wait()
    await after.go()


async def test_wait_is_bounded(gate: Gate) -> None:
    """Who comes while one is alone waits a while and goes elsewhere, whether it came to be alone or not."""
    visits = [Visit(gate) for _ in range(2)]
    await idle()
    first = Visit(gate, alone=True)
    await idle()
    assert not await gate.opened(NOT)
    assert not await Visit(gate, within=NOT).task
    for visit in visits:
        await visit.go()
    await first.alone.wait()
    assert not await Visit(gate, alone=True, within=NOT).task
    assert first.alone.is_set()
    await first.go()
    assert await gate.opened(NOT)


async def test_loner_behind_a_loner(gate: Gate) -> None:
    """One that has to be alone, and was inside already when another closed the gate, neither disturbs it nor stays."""
    before = Visit(gate)
    loners = [Visit(gate, alone=True, within=NOT) for _ in range(2)]
    await idle()
    assert not await loners[1].task
    assert not loners[0].task.done()
    await before.go()
    await loners[0].alone.wait()
    await loners[0].go()
    assert await gate.opened(NOT)


async def test_loners_one_by_one(gate: Gate) -> None:
    """Several that have to be alone are so one after the other, and nobody comes in between."""
    loners = [Visit(gate, alone=True) for _ in range(3)]
    await idle()
    after = Visit(gate)
    for left in (3, 2, 1):
        await idle()
        alone = [loner for loner in loners if loner.alone.is_set()]
        assert len(alone) == 1
        assert len(loners) == left
        assert not after.inside.is_set()
        loners.remove(alone[0])
        await alone[0].go()
    await after.inside.wait()
    await after.go()


async def test_waiting_in_vain(gate: Gate) -> None:
    """One that gives up waiting to be alone goes on beside the others, and opens the gate when it goes."""
    before, loner = Visit(gate), Visit(gate, alone=True)
    await idle()
    assert loner.waiting
    loner.waiting.cancel()
    await loner.alone.wait()
    await loner.go()
    after = Visit(gate)
    await after.inside.wait()
    assert await gate.opened(SOON)
    for visit in (before, after):
        await visit.go()
