"""Starts services together, keeps them running, and stops them in order."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from turnstream_local.keeper import Keeper, Report, RestartPolicy, Service

STILL_WAITING = 5.0  # seconds between two lines that say what is waited for
LOG_CHECK = 15.0  # seconds between two checks of the logs' sizes


class Supervisor:
    """Keeps groups of services; each group stops before those that were started before it."""

    def __init__(self, report: Report, policy: RestartPolicy | None = None) -> None:
        self._report = report
        self._policy = policy or RestartPolicy()
        self._groups: list[Sequence[Service]] = []
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._side_tasks: list[asyncio.Task[None]] = []

    async def start(self, *groups: Sequence[Service]) -> None:
        """Start all services at once and return when each has been ready; raise what made one of them give up."""
        keepers = [Keeper(service, self._report, self._policy) for group in groups for service in group]
        self._groups.extend(groups)
        if not self._side_tasks:
            self._side_tasks.append(asyncio.create_task(self._bound_logs(), name="log sizes"))
        for keeper in keepers:
            name = keeper.service.name
            self._keepers[name] = asyncio.create_task(keeper.run(), name=f"keep {name}")
        started = time.monotonic()
        while waiting := [keeper for keeper in keepers if not keeper.ready.is_set()]:
            await self._first_news(waiting)
            names = ", ".join(keeper.service.name for keeper in waiting if not keeper.ready.is_set())
            elapsed = time.monotonic() - started
            if names and elapsed >= STILL_WAITING:
                self._report(f"still waiting for {names} ({elapsed:.0f} s)")

    async def watch(self) -> None:
        """Return never; raise what ended a keeper or a side task."""
        tasks = [*self._side_tasks, *self._keepers.values()]
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def stop(self) -> None:
        """Stop the services group by group, the last started first."""
        for group in reversed(self._groups):
            await asyncio.gather(*(self._stop(service) for service in group))
        self._groups.clear()
        await _end(*self._side_tasks)

    async def kill(self) -> None:
        """Kill every service at once."""
        await _end(*self._side_tasks, *self._keepers.values())
        await asyncio.gather(*(service.kill() for group in self._groups for service in group))
        self._groups.clear()

    async def _first_news(self, waiting: Sequence[Keeper]) -> None:
        news = [asyncio.create_task(keeper.ready.wait()) for keeper in waiting]
        try:
            await asyncio.wait(
                {*news, *self._keepers.values()}, timeout=STILL_WAITING, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            await _end(*news)
        for task in self._keepers.values():
            if task.done():
                task.result()

    async def _stop(self, service: Service) -> None:
        # A service that crashes while others still stop is kept running until its own turn comes.
        await _end(self._keepers.pop(service.name))
        started = time.monotonic()
        stopping = asyncio.create_task(service.stop(), name=f"stop {service.name}")
        try:
            while not (await asyncio.wait({stopping}, timeout=STILL_WAITING))[0]:
                self._report(f"still waiting for {service.name} to stop ({time.monotonic() - started:.0f} s)")
        finally:
            await _end(stopping)
        in_time = stopping.result()
        how = "stopped" if in_time else "did not stop in time and was killed"
        self._report(f"{service.name} {how} ({time.monotonic() - started:.1f} s)")

    async def _bound_logs(self) -> None:
        while True:
            await asyncio.sleep(LOG_CHECK)
            for group in tuple(self._groups):
                for service in group:
                    await asyncio.to_thread(service.log.bound)


async def _end(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
