"""The ways in which a turn ends, as they are stored and told."""

from dataclasses import replace
from typing import Any

import orjson

from turnstream.logs import log
from turnstream.turns import Item, Outcome, Turn, response_resource
from turnstream_worker.journal import Journal
from turnstream_worker.output import Output

TERMINAL_ROOM = 64 << 10  # bytes of the terminal event besides what its turn was asked and its output


def made_so_far(journal: Journal, output: Output) -> list[Item]:
    """Return what a turn has made, in its journal and behind it."""
    return [*journal.items, *output.items]


def incomplete(reason: str, journal: Journal, output: Output) -> Outcome:
    """Return the end of a turn that has come to a limit."""
    output.hold_item("incomplete")
    made = made_so_far(journal, output)
    return Outcome("incomplete", made, usage=journal.usage.shown(), incomplete={"reason": reason})


def cancelled(journal: Journal, output: Output) -> Outcome:
    """Return the end of a turn that its client wants no more."""
    output.hold_item("incomplete")
    return Outcome("cancelled", made_so_far(journal, output), usage=journal.usage.shown())


def failed(code: str, message: str, journal: Journal, output: Output | None = None) -> Outcome:
    """Return the end of a turn that has failed, with what it has made."""
    if output:
        output.hold_item("incomplete")
    made = made_so_far(journal, output) if output else journal.items
    return Outcome("failed", made, usage=journal.usage.shown(), error=_error(code, message))


def tellable(turn: Turn, outcome: Outcome, limit: int) -> Outcome:
    """Return an outcome that one event of so many bytes can hold: a failure without output where this is too large."""
    shown = {**response_resource(turn), "output": outcome.output}
    return outcome if len(orjson.dumps(shown)) + TERMINAL_ROOM <= limit else too_large(turn, outcome.usage)


def too_large(turn: Turn, usage: dict[str, Any] | None) -> Outcome:
    """Return the end of a turn whose output no event can hold."""
    log.error("turn.too_large", turn=turn.id)
    message = "The turn came to more than its last event can hold. What it said is in the events before."
    return Outcome("failed", [], usage=usage, error=_error("response_too_large", message))


def untold(turn: Turn) -> Turn:
    """Return a turn that has ended as its log ends where what the turn came to cannot be told."""
    log.error("turn.given_up", turn=turn.id, attempt=turn.attempt)
    message = "The turn has ended, and what it came to cannot be told here. Retrieve the response."
    error = _error("response_untold", message)
    return replace(turn, status="cancelled" if turn.status == "cancelled" else "failed", output=[], error=error)


def _error(code: str, message: str) -> dict[str, Any]:
    return {"code": code, "message": message}
