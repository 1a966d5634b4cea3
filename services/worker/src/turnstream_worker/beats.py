"""What a worker knows of the others by their beats: who lives, who has died, and who of them looks after the turns."""

import time
from collections.abc import Callable, Iterable

REMEMBERED = 60  # seconds of silence after which a worker is forgotten, should nobody have buried it


class Beats:
    """The beats that a worker hears, its own among them.

    Silence tells nothing to one that cannot hear. So a worker judges nobody while it does not hear itself, since NATS
    is away or it was paused itself; and when it hears itself again, all others have their time anew.
    """

    def __init__(self, own: str, dead_after: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._own = own
        self._dead_after = dead_after  # seconds
        self._clock = clock
        self._heard: dict[str, float] = {}  # when each worker was last heard, or first noticed
        self._blind: set[str] = set()  # those that have said that the store does not answer them
        self._hearing_since = clock()

    def hear(self, worker: str, *, blind: bool = False) -> None:
        """Take note of a worker's beat, and whether it is blind to the store."""
        if worker == self._own:
            if not self._hears:
                self._hearing_since = self._clock()
            self.bury([other for other in self._heard if self._silence(other) > REMEMBERED])
        self._heard[worker] = self._clock()
        (self._blind.add if blind else self._blind.discard)(worker)

    def notice(self, workers: Iterable[str]) -> None:
        """Take note that there are these workers, or were: one that is never heard from now on has died."""
        for worker in workers:
            self._heard.setdefault(worker, self._clock())

    def bury(self, workers: Iterable[str]) -> None:
        """Forget workers: they have left in order, or their turns were taken over."""
        for worker in workers:
            self._heard.pop(worker, None)
            self._blind.discard(worker)

    @property
    def leads(self) -> bool:
        """Whether this worker looks after the turns for all: the first, by their ids, of those that live and see."""
        return self._hears and self._own == min(self._heard.keys() - self.dead - self._blind, default=None)

    @property
    def dead(self) -> set[str]:
        """The workers that have died."""
        return {worker for worker in self._heard if self._hears and self._silence(worker) > self._dead_after}

    @property
    def _hears(self) -> bool:
        return self._own in self._heard and self._clock() - self._heard[self._own] <= self._dead_after / 2

    def _silence(self, worker: str) -> float:
        return self._clock() - max(self._heard[worker], self._hearing_since)
