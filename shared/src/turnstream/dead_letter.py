"""A dead letter: what is kept of a turn that was given up, for whoever runs Turnstream.

It holds when what was begun and how that went, and nothing that was asked or answered.
"""

from dataclasses import dataclass, replace
from datetime import datetime

from pydantic import TypeAdapter

STEPS_KEPT = 10  # the last ones of a turn's journal


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a turn's journal, without what went into it and came out."""

    number: int
    kind: str  # what was called: a model, a tool, ...
    name: str | None  # of the tool, if it was one
    state: str
    attempt: int  # of the turn, that began it
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
    steps: list[Step]  # the journal's end

    def encode(self) -> bytes:
        """Return it as JSON, with its last STEPS_KEPT steps."""
        return _AS_JSON.dump_json(replace(self, steps=self.steps[-STEPS_KEPT:]))

    @staticmethod
    def decode(data: bytes) -> "DeadLetter":
        """Return the letter that was encoded, without what only a newer version knows."""
        return _AS_JSON.validate_json(data)


_AS_JSON = TypeAdapter(DeadLetter)
