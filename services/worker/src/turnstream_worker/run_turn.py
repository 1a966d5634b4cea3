"""Run one turn: claim it, run the engine, store how it ends, send the last events, take it off the queue.

Whatever breaks in between, the message comes again, and the next attempt goes on from what is stored.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from functools import partial

from turnstream.bus import Bus, Delivery
from turnstream.dead_letter import DeadLetter
from turnstream.errors import BusUnavailableError, FencedError, TurnError, TurnstreamError
from turnstream.logs import fault, log
from turnstream.store import Store
from turnstream.turns import Outcome, Turn, response_resource
from turnstream_worker.agent_loop import incomplete, made_so_far
from turnstream_worker.engine import Engine
from turnstream_worker.event_log import EventLog
from turnstream_worker.gate import Gate
from turnstream_worker.history import read_history
from turnstream_worker.journal import Journal
from turnstream_worker.log_state import LogState
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
    engine: asyncio.Task[Outcome | None] | None = None  # or what it waits for before

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
            async with self.gate.beside():
                await self._settle(running)
        except FencedError:
            log.info("turn.lost", turn=running.turn)
        except TurnstreamError as error:
            # The bus or the store was away for longer than we try. The message comes again after ack_wait.
            log.warning("turn.interrupted", turn=running.turn, error=type(error).__name__, detail=str(error))
        except Exception as error:  # noqa: BLE001 - a fault of ours: the message comes again, and beginnings are counted
            log.error("turn.broke", turn=running.turn, **fault(error))

    async def _settle(self, running: Running) -> None:
        if running.leaving:
            await running.delivery.nak(0)
            return
        turn = running.claimed = await self.store.claim(running.turn, running.owner, self.settings.lease)
        if turn is None:
            # It has ended, or waits for another turn, or is another worker's. None of them needs this message.
            await running.delivery.ack()
            return
        async with self._surroundings(running, turn):
            ended = self._is_hopeless(turn) or await self._end(running, turn)
        if ended:
            if not turn.stored:
                await self.store.forget(turn)
            await running.delivery.ack()
            self.ended.append(turn.id)
        else:
            await self.store.release(turn, running.owner)
            await running.delivery.nak(0)

    def _is_hopeless(self, turn: Turn) -> bool:
        """Tell whether a turn that has failed in the store could not be brought to its log's end either."""
        hopeless = turn.output is not None and turn.beginnings > 2 * self._max_attempts(turn) + 1
        if hopeless:
            log.error("turn.given_up", turn=turn.id, attempt=turn.attempt)
        return hopeless

    @asynccontextmanager
    async def _surroundings(self, running: Running, turn: Turn) -> AsyncIterator[None]:
        """Let the last attempt at a turn be alone in this worker if one of it has died: it may have killed its worker.

        So it takes no other turn with it. Nor does another take it: as long as it waits, its attempt does not count.
        """
        runs = turn.output is None and turn.status != "cancelled"
        if not (runs and 1 < turn.beginnings == self._max_attempts(turn)):
            yield
            return
        await self.store.excuse(turn, running.owner, excused=True)
        async with self.gate.alone() as running.engine:
            await asyncio.wait([running.engine])
            await self.store.excuse(turn, running.owner, excused=False)
            yield

    def _max_attempts(self, turn: Turn) -> int:
        return turn.request.get("max_attempts") or self.settings.max_attempts

    async def _end(self, running: Running, turn: Turn) -> bool:
        """Bring a claimed turn to its end, in the store first and then in its log; return False to hand it over."""
        started = time.monotonic()
        cancelled = turn.status == "cancelled"  # by its client: that is no failure, however many attempts have died
        if turn.output is None and not cancelled and turn.beginnings > (attempts := self._max_attempts(turn)):
            message = f"The turn was begun {attempts} times and never ended."
            journal = await Journal.open(self.store, turn)
            turn = await self._finish(turn, _failed("max_attempts", message, journal))
        if (turn.error or {}).get("code") == "max_attempts":
            # Here, so that a worker that dies between the turn's end and its letter has the next delivery file it.
            steps = await self.store.steps(turn.id)
            await self.bus.dead_letters.file(DeadLetter.about(turn, steps, attempts=self._max_attempts(turn)))
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
        output.announce(turn.output or [])
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
        """End a turn in the store, and queue the one that waited for it."""
        ended, following = await self.store.finish(turn, outcome)
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
            beginning = response_resource(replace(turn, status="running", completed_at=None))
            event_log.append("response.created", response=beginning)
            event_log.append("response.in_progress", response=beginning)
        return event_log, state

    async def _outcome(self, running: Running, turn: Turn, output: Output) -> Outcome | None:
        """Return how the turn ends, or None if another worker is to run it."""
        journal = await Journal.open(self.store, turn)
        output.announce(journal.whole)
        output.close_left_open(goes_on={item["id"] for item in journal.items})
        if turn.status == "cancelled":
            return Outcome("cancelled", journal.items, usage=journal.usage.shown())
        if self.engine.time_left(turn) <= 0:
            return incomplete("deadline", journal, output)
        try:
            history = await read_history(self.store, turn, self.settings.max_history)
            engine = self.engine.run(turn, history, output, journal, lambda: running.leaving)
            running.engine = asyncio.create_task(engine, name="engine")
            if running.reason:
                running.engine.cancel()
            return await running.engine
        except asyncio.CancelledError:
            if running.reason is None:
                raise
            return _stopped(running.reason, journal, output)
        except TurnError as error:
            cause = type(error.__cause__).__name__ if error.__cause__ else None
            log.warning("turn.failed", turn=turn.id, code=error.code, cause=cause)
            output.hold_item("incomplete")
            return _failed(error.code, error.message, journal, output)
        except TurnstreamError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the turn must end, and visibly
            log.error("turn.engine_failed", turn=turn.id, **fault(error))
            output.hold_item("incomplete")
            return _failed("server_error", "The turn failed inside Turnstream.", journal, output)


def _obfuscates(turn: Turn) -> bool:
    return bool(turn.request.get("stream_options", {}).get("include_obfuscation", True))


def _stopped(reason: StopReason, journal: Journal, output: Output) -> Outcome | None:
    if reason is StopReason.LOST:
        raise FencedError("the lease was lost")
    if reason is StopReason.HANDED_OVER:
        return None
    output.hold_item("incomplete")
    return Outcome("cancelled", made_so_far(journal, output), usage=journal.usage.shown())


def _failed(code: str, message: str, journal: Journal, output: Output | None = None) -> Outcome:
    made = made_so_far(journal, output) if output else journal.items
    return Outcome("failed", made, usage=journal.usage.shown(), error={"code": code, "message": message})
