"""Turns that are read to their end, and turns whose readers go."""

import asyncio
from itertools import count
from random import Random
from time import monotonic

from support.reader import Event

from chaos.client import Leaves
from chaos.record import Posted
from chaos.turn_maker import TurnMaker

LONG = 1500  # tokens; more than the kernels' and the gateway's buffers take
FOR_NOBODY = 300  # tokens of a turn that is to be cancelled long before
LONG_GRACE = 60  # seconds; longer than anything keeps a reader from coming back
RUNNING = {"queued", "in_progress"}
POLL = 0.5  # seconds


async def read(maker: TurnMaker, key: str, rng: Random) -> None:
    """Stay as long as the connection does, and come back."""
    posted = maker.text(key, rng)
    await maker.client.follow(posted, posted.reading(attached=True), rng)


async def vanish(maker: TurnMaker, key: str, rng: Random) -> None:
    """Go in the middle, several times, and come back."""
    posted = maker.text(key, rng)
    reading = posted.reading()
    for _ in range(rng.randint(1, 4)):
        await maker.client.follow(posted, reading, rng, leaves=_after(rng.randint(1, 12)))
        await asyncio.sleep(rng.uniform(0, 1))
    await maker.client.follow(posted, reading, rng)


async def read_together(maker: TurnMaker, key: str, rng: Random) -> None:
    """Read a turn that others read too."""
    posted = maker.text(key, rng)
    leader = posted.reading()
    await maker.client.follow(posted, leader, rng, leaves=_after(rng.randint(1, 8)))
    late = [posted.reading() for _ in range(2)]
    await asyncio.gather(*(maker.client.follow(posted, one, rng) for one in (leader, *late)))


async def read_slowly(maker: TurnMaker, key: str, rng: Random) -> None:
    """Read more slowly than the turn goes on."""
    posted = maker.text(key, rng, tokens=LONG, delay_ms=0)
    naps = (rng.uniform(1, 4) if number % (LONG // 4) == 10 else 0 for number in count())
    await maker.client.follow(posted, posted.reading(), rng, naps=naps)


async def read_unstored(maker: TurnMaker, key: str, rng: Random) -> None:
    """Read a turn of which nothing is kept: who comes back finds it by its key alone."""
    posted = maker.text(key, rng, store=False)
    await maker.client.follow(posted, posted.reading(attached=True), rng)


async def cancel(maker: TurnMaker, key: str, rng: Random) -> None:
    """Cancel the turn in the middle."""
    posted = maker.text(key, rng)
    reading = posted.reading()
    await maker.client.follow(posted, reading, rng, leaves=_after(rng.randint(1, 20)))
    if not reading.over:
        await maker.client.cancel(posted, rng)
        await maker.client.follow(posted, reading, rng)


async def stay_away(maker: TurnMaker, key: str, rng: Random) -> None:
    """Go for good from a turn that is to be cancelled then; look at it once it has ended."""
    posted = maker.text(key, rng, tokens=FOR_NOBODY, delay_ms=50, on_disconnect="cancel", disconnect_grace=1)
    posted.may_end = {"completed", "cancelled"}  # which of them is for the audit to say
    reading = posted.reading()
    await maker.client.follow(posted, reading, rng, leaves=_after(rng.randint(1, 20)))
    if not reading.over:
        posted.left = monotonic()
        await _ended(maker, posted, rng)
        await maker.client.follow(posted, reading, rng)


async def come_back(maker: TurnMaker, key: str, rng: Random) -> None:
    """Go from a turn that is to be cancelled if nobody comes back, and come back."""
    posted = maker.text(key, rng, on_disconnect="cancel", disconnect_grace=LONG_GRACE)
    reading = posted.reading()
    for _ in range(rng.randint(1, 3)):
        await maker.client.follow(posted, reading, rng, leaves=_after(rng.randint(1, 12)))
        await asyncio.sleep(rng.uniform(0, 2))
    await maker.client.follow(posted, reading, rng)


async def wait_for(maker: TurnMaker, key: str, rng: Random) -> None:
    """Wait for the whole response."""
    await _run_unread(maker, maker.text(key, rng, stream=False), rng)


async def leave_in_background(maker: TurnMaker, key: str, rng: Random) -> None:
    """Ask for the response now and then."""
    await _run_unread(maker, maker.text(key, rng, stream=False, background=True), rng)


async def _run_unread(maker: TurnMaker, posted: Posted, rng: Random) -> None:
    if (await maker.client.post(posted, rng)).get("status") in RUNNING:
        await _ended(maker, posted, rng)


async def _ended(maker: TurnMaker, posted: Posted, rng: Random) -> None:
    """Wait until a turn has ended, without reading it."""
    while (await maker.client.retrieve(posted, rng)).get("status") in RUNNING:  # noqa: ASYNC110 - a worker ends it
        await asyncio.sleep(POLL)


def _after(events: int) -> Leaves:
    """Leave once so many events have come."""
    left = iter(range(events))

    def leaves(_: Event) -> bool:
        return next(left, None) is None

    return leaves
