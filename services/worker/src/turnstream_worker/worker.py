"""The worker's loop: take turns as there is room, show signs of life, stop what is cancelled or lost, and drain."""

import asyncio
from contextlib import suppress
from typing import Any

from turnstream import subjects
from turnstream.bus import Bus, WorkQueue
from turnstream.errors import BusUnavailableError, StoreUnavailableError
from turnstream.logs import log
from turnstream.store import Store
from turnstream_worker.run_turn import Running, StopReason, TurnRunner
from turnstream_worker.settings import WorkerSettings

LAST_WORDS = 10  # seconds for turns that are handed over to say so


class Worker:
    """Runs up to `concurrency` turns at a time until it is stopped."""

    def __init__(self, bus: Bus, store: Store, runner: TurnRunner, settings: WorkerSettings) -> None:
        self._bus = bus
        self._store = store
        self._runner = runner
        self._settings = settings
        self._running: dict[asyncio.Task[None], Running] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Take and run turns until `stop` is set, then drain; raise if a side task dies."""
        await self._bus.on_signal(subjects.cancel("*"), self._on_cancel)
        async with self._bus.work(subjects.INTERACTIVE, self._settings.concurrency) as queue:
            heartbeat = asyncio.create_task(self._heartbeat(), name="worker.heartbeat")
            main = asyncio.create_task(self._take(queue), name="worker.take")
            stopped = asyncio.create_task(stop.wait(), name="worker.stop")
            broken = asyncio.create_task(self._bus.failed.wait(), name="worker.bus")
            tasks: tuple[asyncio.Task[Any], ...] = (heartbeat, main, stopped, broken)
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                main.cancel()
                await queue.stop()
                if stopped in done:
                    await self._drain()
            finally:
                for task in tasks:
                    task.cancel()
            for task in done - {stopped}:
                raise RuntimeError(f"{task.get_name()} ended") from (None if task.cancelled() else task.exception())

    async def _take(self, queue: WorkQueue) -> None:
        while True:
            delivery = await queue.next()
            running = Running(delivery, delivery.data.decode())
            task = asyncio.create_task(self._run(running, queue), name="turn")
            self._running[task] = running
            task.add_done_callback(self._running.pop)

    async def _run(self, running: Running, queue: WorkQueue) -> None:
        try:
            await self._runner.run(running)
        finally:
            queue.release()

    async def _heartbeat(self) -> None:
        """Prolong acks and leases of all running turns, and stop those that are another's by now."""
        while True:
            await asyncio.sleep(self._settings.heartbeat)
            running = list(self._running.values())
            if not running:
                continue
            for one in running:
                with suppress(BusUnavailableError):  # it may come again: whoever gets it finds the lease
                    await one.delivery.in_progress()
            held = {one.owner: one.turn for one in running if one.engine}
            try:
                ours = await self._store.renew(held, self._settings.lease, patience=self._settings.heartbeat)
            except StoreUnavailableError:
                continue  # nobody else can claim them either
            for one in running:
                if one.owner not in held or not one.engine or one.engine.done():
                    continue
                if one.owner not in ours:
                    one.stop(StopReason.LOST)
                elif ours[one.owner]:
                    one.stop(StopReason.CANCELLED)

    def _on_cancel(self, subject: str) -> None:
        turn = subject.rpartition(".")[2]
        for running in self._running.values():
            if running.turn == turn:
                running.stop(StopReason.CANCELLED)

    async def _drain(self) -> None:
        """Let running turns go on for `grace` seconds, and hand over what is left."""
        log.info("worker.draining", turns=len(self._running))
        await self._wait(self._settings.grace)
        for running in self._running.values():
            running.stop(StopReason.HANDED_OVER)
        await self._wait(LAST_WORDS)

    async def _wait(self, seconds: float) -> None:
        if self._running:
            await asyncio.wait(tuple(self._running), timeout=seconds)
