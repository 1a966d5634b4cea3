"""What a turn's attempts have finished, as one of them reads it and goes on with it."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Protocol, Self

import orjson

from turnstream.steps import ApprovedCall, Step, StepKind
from turnstream.turns import Item, Turn
from turnstream_worker.usage import Usage

UNKNOWN = "The call was started, and how it ended is not known."
# What a client is to do something about, which the turn ends with.
CLIENT_ITEMS = {"function_call", "custom_tool_call", "mcp_approval_request"}


class Steps(Protocol):
    """Where journals are kept."""

    async def journal(self, turn: Turn, steps: Sequence[Step]) -> None:
        """Write steps in one transaction; raise FencedError if another attempt has the turn."""

    async def steps(self, turn: str) -> list[Step]:
        """Return a turn's steps in order."""

    async def approved(self, tenant: str, request: str) -> ApprovedCall | None:
        """Return the call that an approval has gone to."""


class Journal:
    """A turn's steps so far. What is not written here did not happen, for the attempts that follow."""

    def __init__(self, store: Steps, turn: Turn, steps: Sequence[Step] = ()) -> None:
        self.steps = list(steps)
        self.size = sum(_size(step) for step in steps)  # bytes of the items as JSON, with what is being written
        self._store = store
        self._turn = turn

    @classmethod
    async def open(cls, store: Steps, turn: Turn) -> Self:
        """Return a turn's journal as its earlier attempts have left it."""
        return cls(store, turn, await store.steps(turn.id) if turn.attempt > 1 else ())

    def begin(self, kind: StepKind, took_in: Any, *, name: str | None = None, behind: int = 0) -> Step:
        """Return the next step, or the one `behind` it, as it starts; nothing is written yet."""
        return Step(
            number=len(self.steps) + behind,
            kind=kind,
            name=name,
            attempt=self._turn.attempt,
            state="started",
            digest=sha256(orjson.dumps(took_in)).digest(),
            items=None,
            usage=None,
            started_at=datetime.now(UTC),
            finished_at=None,
        )

    async def write(self, *steps: Step) -> None:
        """Write steps that start, in order, or that have gone on; raise FencedError."""
        self.size += sum(map(self.growth, steps))  # at once: calls that run together share what is left
        await self._store.journal(self._turn, steps)
        for step in steps:
            if step.number < len(self.steps):
                self.steps[step.number] = step
            else:
                self.steps.append(step)

    def growth(self, step: Step) -> int:
        """Return by how many bytes the journal grows with a step."""
        return _size(step) - (_size(self.steps[step.number]) if step.number < len(self.steps) else 0)

    async def first(self, step: Step) -> ApprovedCall | None:
        """Return the call that has the approval which a call was begun with, if that is another one."""
        found = await self._store.approved(self._turn.tenant, step.approval) if step.approval else None
        return found if found and (found.turn, found.step) != (self._turn.id, step.number) else None

    @property
    def items(self) -> list[Item]:
        """The items of all steps, in order, but for those that a client is to do something about.

        A call that was started and has not ended is incomplete.
        """
        return [item for step in self.steps for item in _shown(step) if item["type"] not in CLIENT_ITEMS]

    @property
    def whole(self) -> list[Item]:
        """Those of the items that will not change any more."""
        return [
            item
            for step in self.steps
            if step.state != "started"
            for item in step.items or ()
            if item["type"] not in CLIENT_ITEMS
        ]

    @property
    def usage(self) -> Usage:
        """What its steps have used."""
        usage = Usage()
        for step in self.steps:
            usage.add_shown(step.usage)
        return usage

    @property
    def held(self) -> list[Item]:
        """The items that a client is to do something about: they are shown once the turn has ended."""
        return [item for step in self.steps for item in step.items or () if item["type"] in CLIENT_ITEMS]

    @property
    def started(self) -> list[Step]:
        """The calls that were started and have not ended."""
        return [step for step in self.steps if step.state == "started"]

    @property
    def calls(self) -> int:
        """How many calls of tools were begun."""
        return sum(step.kind == "tool_call" for step in self.steps)

    @property
    def model_calls(self) -> int:
        """How many times the model has answered."""
        return sum(step.kind == "model_call" for step in self.steps)


def finished(step: Step, items: list[Item], *, usage: dict[str, Any] | None = None) -> Step:
    """Return a step as it ends, with the items that it made."""
    return replace(step, state="finished", items=items, usage=usage, finished_at=datetime.now(UTC))


def _shown(step: Step) -> list[Item]:
    items = step.items or []
    if step.state != "started":
        return items
    return [{**item, "status": "incomplete", "error": UNKNOWN} for item in items]


def _size(step: Step) -> int:
    return len(orjson.dumps(step.items))
