"""The turn engine on a model in memory: its turns, what they are given, and what becomes of them."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from support.kept_steps import KeptSteps
from support.scripted_stack import Script, ScriptedStack, finished, said, used
from support.turns import a_turn, events_of, unchallenged
from turnstream.errors import ModelError, TurnError
from turnstream.memory import MemoryBus
from turnstream.turns import Item, Outcome, Turn
from turnstream_worker.attachments import Attachments
from turnstream_worker.engine import Engine
from turnstream_worker.event_log import EventLog
from turnstream_worker.journal import Journal
from turnstream_worker.log_state import LogState
from turnstream_worker.model_calls import ModelCalls
from turnstream_worker.output import Output
from turnstream_worker.sealing import Sealing
from turnstream_worker.settings import WorkerSettings
from turnstream_worker.toolboxes import Toolboxes

SEALING = Sealing(b"k" * 32)
ANSWER: Script = [said("hi"), finished(), used(5, 1)]


class Unattached:
    """Attachments of items that refer to nothing."""

    async def resolve(self, items: list[Item], *, earlier: range) -> list[Item]:  # noqa: ARG002 - all are the same
        """Return the items as they are."""
        return items


class Shouted:
    """Attachments whose work is seen: they put every text into capitals, and mark those of earlier turns."""

    async def resolve(self, items: list[Item], *, earlier: range) -> list[Item]:
        """Return the items in capitals."""
        marks = ["*" if place in earlier else "" for place in range(len(items))]
        texts = [item["content"][0]["text"].upper() for item in items]
        return [message(item["role"], text + mark) for item, text, mark in zip(items, texts, marks, strict=True)]


class NoTools:
    """Toolboxes of turns that ask for none."""

    async def open(self, *_: object) -> dict[str, Any]:
        """Return an empty one."""
        return {}


@dataclass
class Run:
    """A turn that was run."""

    outcome: Outcome
    events: list[dict[str, Any]]

    @property
    def kinds(self) -> list[str]:
        """The types of its items."""
        return [item["type"] for item in self.outcome.output]


def engine(stack: ScriptedStack, attachments: object = None, **settings: Any) -> Engine:
    """Return an engine on a stack."""
    where = {"nats_url": "nats://unused", "postgres_dsn": "postgresql://unused"}
    resolving = cast("Attachments", attachments or Unattached())
    read = WorkerSettings.model_validate({**where, **settings})
    return Engine(ModelCalls(stack, SEALING, read), resolving, cast("Toolboxes", NoTools()), read)


def turn(given: list[Item] | None = None, **asked: Any) -> Turn:
    """Make a turn that asks for this."""
    given = given or [message("user", "hello")]
    return replace(a_turn(), input=given, request={"model": "m", **asked}, created_at=datetime.now(UTC))


async def run(on: Engine, history: list[Item] | None = None, given: list[Item] | None = None, **asked: Any) -> Run:
    """Run a turn that asks for this."""
    bus, asking = MemoryBus(), turn(given, **asked)
    log = EventLog(bus, asking, unchallenged)
    try:
        output, journal = Output(asking.id, log, LogState()), Journal(KeptSteps(), asking)
        outcome = await on.run(asking, history or [], output, journal, lambda: False)
        assert outcome is not None
    finally:
        await log.flush()
    return Run(outcome, await events_of(bus))


async def failure(on: Engine, history: list[Item] | None = None, **asked: Any) -> str:
    """Run a turn that fails, and return the error's code."""
    with pytest.raises(TurnError) as failed:
        await run(on, history, **asked)
    return failed.value.code


def refused(code: str = "rate_limit_exceeded", retry_after: float | None = 0) -> ModelError:
    """Make a provider's refusal, which says to try again at once unless told otherwise."""
    return ModelError("No.", code=code, retry_after=retry_after)


def too_long() -> ModelError:
    """Make the refusal of a conversation that is too long."""
    return refused("context_length_exceeded", None)


def message(role: str, text: str) -> Item:
    """Make a message's item."""
    return {"type": "message", "id": "msg_1", "role": role, "content": [{"type": "input_text", "text": text}]}


def exchanges(count: int) -> list[Item]:
    """Make a history of so many questions with their answers."""
    pairs = [(message("user", f"question {n}"), message("assistant", f"answer {n}")) for n in range(count)]
    return [item for pair in pairs for item in pair]


def compaction(summary: str) -> Item:
    """Make what a conversation was summed up to."""
    return {"type": "compaction", "id": "cmp_1", "encrypted_content": SEALING.seal("default", summary)}


def read(stack: ScriptedStack, place: int = -1) -> list[Any]:
    """Return what the model was given to read: the contents of a request's messages."""
    return [sent["content"] for sent in stack.requests[place]["messages"]]


def tokens(ran: Run) -> tuple[int, int]:
    """Return how many tokens a turn has read and written."""
    usage = ran.outcome.usage or {}
    return usage["input_tokens"], usage["output_tokens"]
