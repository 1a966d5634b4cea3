"""A turn's journal: what each of its steps took in and brought out, so that another attempt goes on behind the last."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from turnstream.turns import Item

type StepKind = Literal["model_call", "tool_call", "list_tools", "compaction"]
type StepState = Literal["started", "finished", "uncertain"]  # uncertain: it was started, and its end is unknown


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a turn.

    A tool's call is journalled before it starts and again when it has ended, since it may have done something outside;
    any other step once, when it has ended. The last step of a turn stands in the turn's row instead, with its end.
    """

    number: int  # 0, 1, 2, … over all attempts
    kind: StepKind
    name: str | None  # the tool's, or the server's
    attempt: int  # that began it
    state: StepState
    digest: bytes  # SHA-256 of what went in
    items: list[Item] | None  # the output items that it made; for a call that has not ended, the item that it began as
    usage: dict[str, Any] | None  # of the model calls that it made, as their providers count
    started_at: datetime
    finished_at: datetime | None

    @property
    def call(self) -> str | None:
        """The id of the item of a tool's call."""
        return self.items[0]["id"] if self.kind == "tool_call" and self.items else None

    @property
    def approval(self) -> str | None:
        """The id of the request for approval that a person has answered for a tool's call."""
        return self.items[0].get("approval_request_id") if self.kind == "tool_call" and self.items else None


@dataclass(frozen=True, slots=True)
class ApprovedCall:
    """The call that an approval has gone to: the first one that was begun with it, whoever else comes with it later."""

    turn: str
    step: int  # its number in the turn's journal
    call: str  # its item's id
    state: StepState | None  # None if the journal is gone
    items: list[Item] | None  # the item, as far as it is, and what it brought besides; None likewise
    open: bool  # whether its turn has not ended

    @property
    def key(self) -> str:
        """Its idempotency key, which is the same for whoever runs it."""
        return idempotency_key(self.turn, self.step, self.call)


def idempotency_key(turn: str, step: int, call: str) -> str:
    """Return what a tool can know a call by that it has seen before: the same for every attempt at it."""
    return f"{turn}:{step}:{call}"
