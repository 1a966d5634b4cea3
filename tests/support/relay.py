"""One reader of one turn, and the log that it reads."""

import asyncio
from collections.abc import Awaitable, Callable

from support.turns import SUBJECT
from turnstream.events import Batch, decode, encode
from turnstream.memory import MemoryBus
from turnstream_gateway.relay import Relay

SOON = 5  # seconds
NEVER = 60  # seconds; a silence that no test waits for
QUICK = 0.01  # seconds; one that a test does wait for


def _always(closed: bool) -> Callable[[], Awaitable[bool]]:
    """Say whether a turn is closed."""

    async def answer() -> bool:
        return closed

    return answer


class Writer:
    """A turn's log as a test writes it."""

    def __init__(self) -> None:
        self.bus = MemoryBus()
        self._attempt = 1
        self._sequence = 0
        self._number = 0

    async def write(self, count: int = 1, *, last: bool = False) -> None:
        """Append a batch of so many events, the last of them terminal if it is to be."""
        kinds = ["response.x"] * count
        if last:
            kinds[-1] = "response.completed"
        lines = [encode(kind, self._number + i, {"response": {"id": 1}}) for i, kind in enumerate(kinds)]
        self._sequence = await self.bus.append(SUBJECT, Batch(self._attempt, self._number, lines), self._sequence)
        self._number += count

    async def take_over(self) -> None:
        """Go on as another attempt, behind its mark."""
        self._attempt += 1
        await self.write(0)

    async def lose(self, *, first: int) -> None:
        """Lose all that was written, and write it again from an event on, in one batch."""
        self.bus.lose_logs()
        self._sequence, count, self._number = 0, self._number - first, first
        if count:
            await self.write(count)

    async def begin_again(self) -> None:
        """Begin again as another attempt that has found an empty log."""
        self._number = 0
        await self.take_over()

    def follow(self, sequence: int) -> None:
        """Go on behind a batch that another has stored."""
        self._sequence = sequence

    async def write_all(self) -> None:
        """Append ten events in several batches, among them an empty one, and the last a terminal one."""
        for count in (1, 3, 0, 1, 2, 2):
            await self.write(count)
        await self.write(last=True)

    def relay(self, keepalive: float = NEVER, *, closed: bool = False) -> Relay:
        """Return a reader."""
        return Relay(self.bus, "default", "resp_1", keepalive=keepalive, closed=_always(closed))


def numbers(lines: list[bytes]) -> list[int]:
    """Return the numbers of some events."""
    return [decode(line)["sequence_number"] for line in lines]


async def read(relay: Relay, after: int = -1, *, new: bool = False) -> list[int]:
    """Read to the end, and return the numbers of all events."""
    async with asyncio.timeout(SOON):
        return [number async for lines in relay.lines(after, new=new) for number in numbers(lines)]
