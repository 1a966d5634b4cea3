"""The worker's loop: take turns as there is room, show signs of life, stop what is cancelled or lost, and drain."""

import asyncio
from contextlib import suppress
from typing import Any

from turnstream import subjects
from turnstream.bus import Bus, NoDelivery, WorkQueue
from turnstream.errors import BusUnavailableError, StoreUnavailableError
from turnstream.ids import new_id
from turnstream.logs import log
from turnstream.store import Store
from turnstream_worker.beats import Beats
from turnstream_worker.reconciler import Reconciler
from turnstream_worker.run_turn import GATE_PATIENCE, Running, StopReason, TurnRunner
from turnstream_worker.settings import WorkerSettings

LAST_WORDS = 10  # seconds for turns that are handed over to say so


class Worker:
    """Runs up to `concurrency` turns at a time until it is stopped."""

    def __init__(self, bus: Bus, store: Store, runner: TurnRunner, settings: WorkerSettings) -> None:
        self._bus = bus
        self._store = store
        self._runner = runner
        self._settings = settings
        self._id = new_id("worker_")
        self._beats = Beats(self._id, settings.dead_after)
        self._reconciler = Reconciler(bus, store, self._beats, settings, self._end)
        self._running: dict[asyncio.Task[None], Running] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Take and run turns until `stop` is set, then drain; raise if a side task dies."""
        log.info("worker.started", worker=self._id)
        await self._bus.on_signal(subjects.cancel("*"), self._on_cancel)
        await self._bus.on_signal(subjects.beat("*", "*"), self._on_beat)
        async with self._bus.work(subjects.INTERACTIVE, self._settings.concurrency) as queue:
            main = asyncio.create_task(self._take(queue), name="worker.take")
            stopped = asyncio.create_task(stop.wait(), name="worker.stop")
            tasks: tuple[asyncio.Task[Any], ...] = (
                asyncio.create_task(self._beat(), name="worker.beat"),
                asyncio.create_task(self._heartbeat(), name="worker.heartbeat"),
                asyncio.create_task(self._close(), name="worker.close"),
                asyncio.create_task(self._reconciler.run(), name="worker.reconciler"),
                asyncio.create_task(self._bus.failed.wait(), name="worker.bus"),
                main,
                stopped,
            )
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
        if not self._running:  # else the others had better take over what is left
            await self._bus.signal(subjects.beat(self._id, subjects.GONE))

    async def _take(self, queue: WorkQueue) -> None:
        while True:
            while not await self._runner.gate.opened(GATE_PATIENCE):
                await queue.give_back()
            delivery = await queue.next()
            running = Running(delivery, delivery.data.decode(), f"{self._id}/{delivery.receipt}")
            task = asyncio.create_task(self._run(running, queue), name="turn")
            self._running[task] = running
            task.add_done_callback(self._running.pop)

    async def _run(self, running: Running, queue: WorkQueue) -> None:
        try:
            await self._runner.run(running)
        finally:
            queue.release()

    def _end(self, turn: str) -> None:
        """Bring a turn to its end beside those that there is room for: nothing of it is run, and no message settled."""
        owner = f"{self._id}//{turn}"  # one of its own, with no receipt
        running = Running(NoDelivery(), turn, owner, overdue=True)
        task = asyncio.create_task(self._runner.run(running), name="turn")
        self._running[task] = running
        task.add_done_callback(self._running.pop)

    async def _beat(self) -> None:
        """Let the other workers know, and this one, that it lives and can be heard."""
        while True:
            word = subjects.BLIND if self._reconciler.blind else subjects.HERE
            await self._bus.signal(subjects.beat(self._id, word))
            await asyncio.sleep(self._settings.beat)

    def _on_beat(self, subject: str) -> None:
        _, _, worker, word = subject.split(".")
        if word == subjects.GONE:
            self._beats.bury([worker])
        else:
            self._beats.hear(worker, blind=word == subjects.BLIND)

    async def _close(self) -> None:
        """Close turns that have ended, those of a while together: it is not urgent."""
        while True:
            await asyncio.sleep(self._settings.beat)
            await self._close_ended()

    async def _close_ended(self) -> None:
        with suppress(StoreUnavailableError):  # it is tried again, by another worker if this one is going
            await self._runner.close_ended()

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
            held = {one.owner: one.turn for one in running if one.claimed}
            try:
                ours = await self._store.renew(held, self._settings.lease, patience=self._settings.heartbeat)
            except StoreUnavailableError:
                continue  # nobody else can claim them either
            for one in running:
                if one.owner in held and one.owner not in ours:
                    one.stop(StopReason.LOST)
                elif ours.get(one.owner):
                    one.stop(StopReason.CANCELLED)

    def _on_cancel(self, subject: str) -> None:
        turn = subject.rpartition(".")[2]
        for running in self._running.values():
            if running.turn == turn:
                running.stop(StopReason.CANCELLED)

    async def _drain(self) -> None:
        """Let running turns go on to the end of their step, or of their grace, and hand over what is left."""
        log.info("worker.draining", turns=len(self._running))
        for running in self._running.values():
            running.leaving = True
            asyncio.get_running_loop().call_later(self._grace(running), running.stop, StopReason.HANDED_OVER)
        if self._running:
            await asyncio.wait(tuple(self._running), timeout=self._settings.grace + LAST_WORDS)
        await self._close_ended()

    def _grace(self, running: Running) -> float:
        """Return for how many seconds a turn may go on: as it asks, but no longer than this worker stays."""
        asked = running.claimed.request.get("grace") if running.claimed else None
        return self._settings.grace if asked is None else min(asked, self._settings.grace)
