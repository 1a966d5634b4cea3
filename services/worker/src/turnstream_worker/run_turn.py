"""Run one turn: claim it, run the engine, store how it ends, send the last events, take it off the queue.

Whatever breaks in between, the message comes again, and the next attempt goes on from what is stored.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from functools import partial

from turnstream.bus import Bus, Delivery
from turnstream.dead_letter import DeadLetter
from turnstream.errors import (
    BusUnavailableError,
    EventTooLargeError,
    FencedError,
    RetryableError,
    TurnError,
    TurnstreamError,
)
from turnstream.logs import fault, log
from turnstream.store import Store
from turnstream.turns import Outcome, Turn, response_resource
from turnstream_worker.engine import Engine
from turnstream_worker.event_log import EventLog
from turnstream_worker.gate import Gate
from turnstream_worker.history import read_history
from turnstream_worker.journal import Journal
from turnstream_worker.log_state import LogState
from turnstream_worker.outcomes import cancelled, failed, incomplete, tellable, too_large, untold
from turnstream_worker.output import Output
from turnstream_worker.settings import WorkerSettings

# The event that shows a turn's end to its client. The specification has no event for a cancelled one.
TERMINAL_EVENTS = {
    "completed": "response.completed",
    "failed": "response.failed",
    "incomplete": "response.incomplete",
    "cancelled": "response.incomplete",
}
QUEUE_PATIENCE = 5  # seconds to try to queue a turn
INTERRUPTION_PAUSE = 1  # seconds until a turn that was interrupted goes on
EXCUSE_PATIENCE = 3600  # seconds to try to tell the store that an attempt does not count
GATE_PATIENCE = 1  # seconds that turns wait behind one that is alone, before they are given to other workers
CLOSED_AT_ONCE = 1000  # turns
CLOSE_PATIENCE = 5  # seconds to try to close them


class StopReason(Enum):
    """Why a running turn is stopped from outside."""

    CANCELLED = auto()  # its client asked for it
    LOST = auto()  # another attempt owns it
    HANDED_OVER = auto()  # this worker is going


@dataclass(slots=True)
class Running:
    """A turn in this worker's hands."""

    delivery: Delivery
    turn: str
    owner: str  # the worker and the delivery's receipt, with a slash between
    claimed: Turn | None = None  # the turn as it was claimed
    leaving: bool = False  # whether it is to go on in another worker at the end of its step
    reason: StopReason | None = None
    engine: asyncio.Task[Outcome | None] | asyncio.Task[bool] | None = None  # or by which it waits to be alone before

    def stop(self, reason: StopReason) -> None:
        """Stop the engine at its next await; the first reason counts."""
        self.reason = self.reason or reason
        if self.engine:
            self.engine.cancel()


@dataclass(frozen=True, slots=True)
class TurnRunner:
    """What turns are run with."""

    bus: Bus
    store: Store
    engine: Engine
    settings: WorkerSettings
    gate: Gate = field(default_factory=Gate)
    ended: list[str] = field(default_factory=list)  # turns whose last events are stored, to be closed together

    async def close_ended(self) -> None:
        """Forget that turns which have ended were open; raise StoreUnavailableError."""
        while turns := self.ended[:CLOSED_AT_ONCE]:
            await self.store.close(turns, patience=CLOSE_PATIENCE)
            del self.ended[: len(turns)]

    async def run(self, running: Running) -> None:
        """Run a turn from its delivery until it is settled; raise nothing that another delivery mends."""
        try:
            async with self.gate.beside(GATE_PATIENCE) as inside:
                await (self._settle(running) if inside else running.delivery.nak(0))
        except FencedError:
            log.info("turn.lost", turn=running.turn)
        except RetryableError as error:
            # The bus or the store was away for longer than we try.
            log.warning("turn.interrupted", turn=running.turn, error=type(error).__name__, detail=str(error))
            await self._excuse(running)
        except Exception as error:  # noqa: BLE001 - a fault of ours: the message comes again, and beginnings are counted
            log.error("turn.broke", turn=running.turn, **fault(error))

    async def _excuse(self, running: Running) -> None:
        """Hand an interrupted turn over as soon as the store can be told: the attempt was no failed one.

        It counts nevertheless if only the end of the turn's log was missing, so that tries at that are bounded.
        """
        if running.claimed and running.claimed.output is None:
            with suppress(TurnstreamError):  # then its lease ends, and it counts as one
                await self._hand_over(running, running.claimed, delay=INTERRUPTION_PAUSE, patience=EXCUSE_PATIENCE)

    async def _settle(self, running: Running) -> None:
        if running.leaving:
            await running.delivery.nak(0)
            return
        turn = running.claimed = await self.store.claim(running.turn, running.owner, self.settings.lease)
        if turn is None:
            # It has ended, or waits for another turn, or is another worker's. None of them needs this message.
            await running.delivery.ack()
            return
        async with self._surroundings(running, turn) as here:
            ended = here and await self._end(running, turn)
        if ended:
            if not turn.stored:
                await self.store.forget(turn)
            await running.delivery.ack()
            self.ended.append(turn.id)
        else:
            await self._hand_over(running, turn)

    async def _hand_over(
        self, running: Running, turn: Turn, *, delay: float = 0, patience: float | None = None
    ) -> None:
        await self.store.release(turn, running.owner, patience=patience)
        await running.delivery.nak(delay)

    @asynccontextmanager
    async def _surroundings(self, running: Running, turn: Turn) -> AsyncIterator[bool]:
        """Let the last attempt at a turn be alone in this worker if one of it has died: it may have killed its worker.

        So it takes no other turn with it. Nor does another take it: as long as it waits, its attempt does not count.
        Yields whether it is to run here, and not elsewhere, since another one is alone here.
        """
        runs = turn.output is None and turn.status != "cancelled"
        if not (runs and 1 < turn.beginnings == self._max_attempts(turn)):
            yield True
            return
        await self.store.excuse(turn, running.owner, excused=True)
        async with self.gate.alone(GATE_PATIENCE) as waiting:
            running.engine = waiting
            # No longer than its deadline: then it only ends. Nor if it is stopped.
            await asyncio.wait([waiting], timeout=max(0, self.engine.time_left(turn)))
            here = not waiting.done() or waiting.cancelled() or waiting.result()
            if here:
                await self.store.excuse(turn, running.owner, excused=False)
            yield here

    def _max_attempts(self, turn: Turn) -> int:
        return turn.request.get("max_attempts") or self.settings.max_attempts

    async def _end(self, running: Running, turn: Turn) -> bool:
        """Bring a claimed turn to its end, in the store first and then in its log; return False to hand it over."""
        started = time.monotonic()
        attempts = self._max_attempts(turn)
        wanted = turn.status != "cancelled"  # or its end is no failure, however many attempts have died
        if turn.output is None and wanted and turn.beginnings > attempts:
            message = f"The turn was begun {attempts} times and never ended."
            turn = await self._finish(turn, failed("max_attempts", message, await Journal.open(self.store, turn)))
        if (turn.error or {}).get("code") == "max_attempts":
            # Here, so that a worker that dies between the turn's end and its letter has the next delivery file it.
            steps = await self.store.steps(turn.id)
            await self.bus.dead_letters.file(DeadLetter.about(turn, steps, attempts=attempts))
        event_log, state = await self._open_log(turn)
        if state.ended:
            return True
        output = Output(turn.id, event_log, state, obfuscate=_obfuscates(turn))
        if turn.output is None:
            outcome = await self._outcome(running, turn, output)
            if outcome is None:
                await event_log.flush()
                return False
            turn = await self._finish(turn, outcome)
        elif turn.beginnings > 2 * attempts + 1:  # it has ended, and cannot be brought to its log's end as it is
            turn = untold(turn)
        output.announce(turn.output or [])
        with suppress(EventTooLargeError):  # what is too large to be told as whole has failed its turn, and stays open
            output.close_left_open()
        event_log.end(TERMINAL_EVENTS[turn.status], response=response_resource(turn))
        await event_log.flush()
        log.info(
            "turn.ended",
            turn=turn.id,
            attempt=turn.attempt,
            status=turn.status,
            error=(turn.error or {}).get("code"),
            tokens=(turn.usage or {}).get("total_tokens"),
            ms=round((time.monotonic() - started) * 1000),
        )
        return True

    async def _finish(self, turn: Turn, outcome: Outcome) -> Turn:
        """End a turn in the store, as one event can tell it, and queue the one that waited for it."""
        ended, following = await self.store.finish(turn, tellable(turn, outcome, self.bus.event_limit))
        if following:
            try:
                await self.bus.enqueue(turn.tenant, following, f"{following}:released", patience=QUEUE_PATIENCE)
            except BusUnavailableError as error:
                log.warning("turn.not_queued", turn=following, error=str(error))  # the reconciler finds it
        return ended

    async def _open_log(self, turn: Turn) -> tuple[EventLog, LogState]:
        check_claim = partial(self.store.check_claim, turn)
        if turn.attempt == 1:  # nobody can have written to it
            event_log, state = EventLog(self.bus, turn, check_claim), LogState()
        else:
            event_log, state = await EventLog.take_over(self.bus, turn, check_claim)
        if state.next == 0:
            running = replace(turn, status="running", output=None, usage=None, error=None, incomplete=None)
            beginning = response_resource(replace(running, completed_at=None))
            event_log.append("response.created", response=beginning)
            event_log.append("response.in_progress", response=beginning)
        return event_log, state

    async def _outcome(self, running: Running, turn: Turn, output: Output) -> Outcome | None:
        """Return how the turn ends, or None if another worker is to run it."""
        journal = await Journal.open(self.store, turn)
        try:
            return await self._attempt(running, turn, journal, output)
        except asyncio.CancelledError:
            if running.reason is None:
                raise
            if running.reason is StopReason.LOST:
                raise FencedError("the lease was lost") from None
            return cancelled(journal, output) if running.reason is StopReason.CANCELLED else None
        except TurnError as error:
            cause = type(error.__cause__).__name__ if error.__cause__ else None
            log.warning("turn.failed", turn=turn.id, code=error.code, cause=cause)
            return failed(error.code, error.message, journal, output)
        except EventTooLargeError:
            output.hold_item("incomplete")
            return too_large(turn, journal.usage.shown())
        except TurnstreamError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the turn must end, and visibly
            log.error("turn.engine_failed", turn=turn.id, **fault(error))
            return failed("server_error", "The turn failed inside Turnstream.", journal, output)

    async def _attempt(self, running: Running, turn: Turn, journal: Journal, output: Output) -> Outcome | None:
        """Go on behind what earlier attempts have done, unless the turn is wanted no more or overdue."""
        output.announce(journal.whole)
        output.close_left_open(goes_on={item["id"] for item in journal.items})
        output.keep_told(journal.items)
        if turn.status == "cancelled":
            return cancelled(journal, output)
        if self.engine.time_left(turn) <= 0:
            return incomplete("deadline", journal, output)
        history = await read_history(self.store, turn, self.settings.max_history)
        engine = self.engine.run(turn, history, output, journal, lambda: running.leaving)
        running.engine = asyncio.create_task(engine, name="engine")
        if running.reason:
            running.engine.cancel()
        return await running.engine


def _obfuscates(turn: Turn) -> bool:
    return bool(turn.request.get("stream_options", {}).get("include_obfuscation", True))
