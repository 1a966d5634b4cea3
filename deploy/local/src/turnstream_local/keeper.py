"""Keeps one service running."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from turnstream_local.child import exit_text
from turnstream_local.errors import ChildFailedError
from turnstream_local.log_file import LogFile

Report = Callable[[str], None]


class Service(Protocol):
    """What can be kept running: a child, or a server that prepares its data before it starts its child."""

    @property
    def name(self) -> str:
        """The name that is shown, and that the log is named by."""

    @property
    def log(self) -> LogFile:
        """What the service prints."""

    async def start(self) -> None:
        """Return when ready; raise ChildFailedError if that fails."""

    async def wait(self) -> int:
        """Return the exit code when the service has ended."""

    async def stop(self) -> bool:
        """End the service in order; return whether it ended by itself."""

    async def kill(self) -> None:
        """End the service at once."""


@dataclass(frozen=True)
class RestartPolicy:
    """How soon and how often a service is started again; times in seconds."""

    first_delay: float = 0.2
    max_delay: float = 5.0
    healthy_after: float = 30.0  # running this long, the next delay is the first again
    first_attempts: int = 5  # failures in a row before the service has ever been ready, until it is given up


class Keeper:
    """Starts a service, and starts it again whenever it ends."""

    def __init__(self, service: Service, report: Report, policy: RestartPolicy) -> None:
        self.service = service
        self.ready = asyncio.Event()  # set by the first success, never cleared
        self._report = report
        self._policy = policy
        self._failures = 0  # in a row

    async def run(self) -> None:
        """Keep the service running until cancelled; raise ChildFailedError when it never gets ready."""
        while True:
            ended = await self._run_once()
            self._failures += 1
            if not self.ready.is_set() and self._failures >= self._policy.first_attempts:
                raise ChildFailedError(self._given_up(ended))
            delay = min(self._policy.first_delay * 2 ** (self._failures - 1), self._policy.max_delay)
            self._report(f"{ended}; starting it again in {delay:.1f} s (log: {self.service.log.path})")
            await asyncio.sleep(delay)

    async def _run_once(self) -> str:
        started = time.monotonic()
        try:
            await self.service.start()
        except ChildFailedError as error:
            return str(error)
        self._report(f"{self.service.name} is ready ({time.monotonic() - started:.1f} s)")
        self.ready.set()
        ready = time.monotonic()
        code = await self.service.wait()
        if time.monotonic() - ready >= self._policy.healthy_after:
            self._failures = 0
        return f"{self.service.name} {exit_text(code)}"

    def _given_up(self, ended: str) -> str:
        log = self.service.log
        return (
            f"{ended}. It failed {self._failures} times in a row and was never ready: giving up. "
            f"The end of {log.path}:\n{log.tail()}"
        )
