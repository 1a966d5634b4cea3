"""A load of all kinds of turns, each decided by the seed and its number."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count
from random import Random

from chaos.callers import ask_before, ask_before_again, call_again, call_in_one_attempt, call_in_parallel, call_tools
from chaos.readers import (
    cancel,
    come_back,
    leave_in_background,
    read,
    read_slowly,
    read_together,
    read_unstored,
    stay_away,
    vanish,
    wait_for,
)
from chaos.talkers import make_way, talk, talk_at_once
from chaos.turn_maker import TurnMaker

type Kind = Callable[[TurnMaker, str, Random], Awaitable[None]]

KINDS: dict[Kind, int] = {  # and how often each is chosen
    read: 25,
    vanish: 15,
    read_together: 8,
    read_slowly: 3,
    read_unstored: 8,
    cancel: 12,
    stay_away: 6,
    come_back: 6,
    wait_for: 8,
    leave_in_background: 8,
    talk: 6,
    talk_at_once: 5,
    make_way: 8,
    call_tools: 15,
    call_in_parallel: 12,
    call_again: 10,
    call_in_one_attempt: 10,
    ask_before_again: 8,
    ask_before: 6,
}


class Load:
    """Clients that post turns, a bounded number at a time, until they are told to stop."""

    def __init__(self, maker: TurnMaker, seed: str) -> None:
        self.stop = asyncio.Event()
        self._maker = maker
        self._seed = seed
        self._numbers = count()

    async def run(self, clients: int) -> None:
        """Let so many clients post one turn after the other; return when all their turns have ended."""
        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(self._post_turns())

    async def _post_turns(self) -> None:
        while not self.stop.is_set():
            number = next(self._numbers)
            rng = Random(f"{self._seed}/{number}")
            [kind] = rng.choices(list(KINDS), list(KINDS.values()))
            await kind(self._maker, f"chaos-{self._seed}-{number}-{kind.__name__}", rng)
