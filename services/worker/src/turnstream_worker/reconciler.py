"""Have the turns run that nobody runs: those of workers that died, and those that are on no queue."""

import asyncio
import time
from collections.abc import Callable
from itertools import batched

from turnstream import subjects
from turnstream.bus import Bus
from turnstream.errors import BusUnavailableError, StoreUnavailableError
from turnstream.logs import fault, log
from turnstream.store import Store
from turnstream.turns import Lost
from turnstream_worker.beats import Beats
from turnstream_worker.settings import WorkerSettings

BATCH = 500  # turns that are taken from the store at a time
AT_ONCE = 16  # turns that are on their way to the queue at a time
PATIENCE = 1  # seconds to try to queue a turn; the next sweep finds it again
STORE_PATIENCE = 5  # seconds to wait for the store, before another worker had better look after the turns


class Reconciler:
    """Looks after turns as long as its worker leads. Should another believe that it leads as well, no harm is done."""

    def __init__(
        self, bus: Bus, store: Store, beats: Beats, settings: WorkerSettings, end: Callable[[str], None]
    ) -> None:
        self._bus = bus
        self._store = store
        self._beats = beats
        self._settings = settings
        self._end = end  # brings a turn to its end that is not to be run
        self._next_sweep = 0.0  # by the monotonic clock
        self.blind = False  # whether the store did not answer; its worker's beats say so, and another leads

    async def run(self) -> None:
        """Look after the turns at every beat, over whatever is away for a while."""
        while True:
            try:
                if self.blind:
                    await self._look()
                elif self._beats.leads:
                    await self._take_over()
                    if time.monotonic() >= self._next_sweep:
                        await self._sweep()
            except (BusUnavailableError, StoreUnavailableError) as error:
                self.blind = isinstance(error, StoreUnavailableError)
                log.warning("reconciler.interrupted", error=type(error).__name__, detail=str(error))
            await asyncio.sleep(self._settings.beat)

    async def _look(self) -> None:
        """See whether the store answers again. If it was away for all, who lives is to prolong the leases first."""
        await self._store.owners(patience=STORE_PATIENCE)
        self._next_sweep = time.monotonic() + self._settings.heartbeat
        self.blind = False

    async def _take_over(self) -> None:
        """Free what dead workers hold, and give it back to the queue for them: so it comes before what waits there."""
        if not self._beats.dead:
            return
        # Beats are heard in a part of a NATS cluster that is cut off, too. There the queue does not answer for long.
        await self._bus.waited(subjects.INTERACTIVE)
        dead, turns = sorted(self._beats.dead), 0
        while receipts := await self._store.take_over(dead, BATCH, patience=STORE_PATIENCE):
            for receipt in filter(None, receipts):  # one that names no message is found by the sweep
                await self._bus.give_back(receipt)
            turns += len(receipts)
        self._beats.bury(dead)
        log.warning("worker.dead", workers=dead, turns=turns)

    async def _sweep(self) -> None:
        """Queue turns that are lost. A queue is in order: what it has not reached yet is not lost, however long ago.

        Those whose time is over need not wait for their place in it, nor for room in a worker.
        """
        self._next_sweep = time.monotonic() + self._settings.sweep
        self._beats.notice(await self._store.owners(patience=STORE_PATIENCE))
        for turn in await self._store.overdue(self._settings.deadline, BATCH, patience=STORE_PATIENCE):
            self._end(turn)
        waited = await self._bus.waited(subjects.INTERACTIVE)
        after = self._settings.lost_after + (waited or 0)
        lost = await self._store.lost(after, BATCH, patience=STORE_PATIENCE)
        refused = 0
        for some in batched(lost, AT_ONCE):
            refused += (await asyncio.gather(*map(self._queue, some))).count(False)
        if lost:
            log.warning("turns.lost", turns=len(lost), refused=refused)
        if len(lost) == BATCH:
            self._next_sweep = 0  # there may be more

    async def _queue(self, lost: Lost) -> bool:
        try:
            await self._bus.enqueue(lost.tenant, lost.turn, lost.message_id, patience=PATIENCE)
        except BusUnavailableError:
            return False
        except Exception as error:  # noqa: BLE001 - of this turn alone: the others must not wait for what mends it
            log.error("turn.not_queued", turn=lost.turn, **fault(error))
            return False
        return True
