"""A dead letter: what is kept of a turn that was given up, for whoever runs Turnstream.

It holds when what was begun and how that went, and nothing that was asked or answered.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from pydantic import TypeAdapter

from turnstream.steps import Step, StepKind, StepState
from turnstream.turns import Turn

STEPS_KEPT = 10  # the last ones of a turn's journal


@dataclass(frozen=True, slots=True)
class Entry:
    """A step of a turn's journal, without what went into it and came out."""

    number: int
    kind: StepKind
    name: str | None  # the tool's, or the server's
    attempt: int  # that began it
    state: StepState
    started_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What is kept of a turn that was given up."""

    turn: str
    tenant: str
    code: str  # why it was given up, as in the turn's error
    message: str
    attempts: int  # that were made
    filed_at: datetime
    steps: list[Entry]  # the journal's end, STEPS_KEPT at most

    @classmethod
    def about(cls, turn: Turn, journal: Sequence[Step], *, attempts: int) -> Self:
        """Return the letter about a turn that has failed after so many attempts."""
        error = turn.error or {}
        return cls(
            turn=turn.id,
            tenant=turn.tenant,
            code=error.get("code", "server_error"),
            message=error.get("message", ""),
            attempts=attempts,
            filed_at=datetime.now(UTC),
            steps=[_entry(step) for step in journal[-STEPS_KEPT:]],
        )

    def encode(self) -> bytes:
        """Return it as JSON."""
        return _AS_JSON.dump_json(self)

    @staticmethod
    def decode(data: bytes) -> "DeadLetter":
        """Return the letter that was encoded, without what only a newer version knows."""
        return _AS_JSON.validate_json(data)


def _entry(step: Step) -> Entry:
    return Entry(step.number, step.kind, step.name, step.attempt, step.state, step.started_at, step.finished_at)


_AS_JSON = TypeAdapter(DeadLetter)
