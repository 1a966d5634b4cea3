"""An event loop whose time passes only when everybody waits for it: nothing sleeps, and every run is the same."""

import asyncio
import selectors
from typing import Any


class _Selector(selectors.DefaultSelector):
    """Lets the time pass at once that it is asked to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("everybody waits, and nothing is going to happen")
        self.now += timeout
        return super().select(0)


class FakeClock(asyncio.SelectorEventLoop):
    """The loop. Where nothing can happen any more it raises RuntimeError, and does not hang."""

    def __init__(self) -> None:
        self._passing = _Selector()
        super().__init__(self._passing)

    def time(self) -> float:
        """Return the seconds that have passed."""
        return self._passing.now

    def close(self) -> None:
        """Cancel what is still running, and close."""
        left: set[asyncio.Task[Any]] = asyncio.all_tasks(self)
        for task in left:
            task.cancel()
        if left:
            self.run_until_complete(asyncio.wait(left))
        self.run_until_complete(self.shutdown_asyncgens())
        super().close()
