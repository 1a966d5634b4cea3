"""The turn engine: brings together what a turn's loop needs, and runs it within the turn's time."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from turnstream.ids import item_id
from turnstream.turns import Item, Outcome, Turn
from turnstream_worker.agent_loop import AgentLoop, approved_by
from turnstream_worker.attachments import Attachments
from turnstream_worker.journal import Journal, finished
from turnstream_worker.messages import OUTPUTS
from turnstream_worker.model_calls import ModelCalls
from turnstream_worker.outcomes import incomplete
from turnstream_worker.output import Output
from turnstream_worker.settings import WorkerSettings
from turnstream_worker.toolboxes import Toolboxes
from turnstream_worker.usage import Usage

BYTES_A_TOKEN = 4  # of a conversation as JSON, at least half of what any tokenizer makes of it


@dataclass(frozen=True, slots=True)
class Engine:
    """What turns are run on."""

    models: ModelCalls
    attachments: Attachments
    toolboxes: Toolboxes
    settings: WorkerSettings

    async def run(
        self, turn: Turn, history: list[Item], output: Output, journal: Journal, leaving: Callable[[], bool]
    ) -> Outcome | None:
        """Run a turn behind what its journal holds, stream what it says into `output`, and return how it ends.

        Returns None at the end of a step if `leaving` says that it is to go on in another worker. A turn that comes to
        one of its limits is incomplete. Raises TurnError.
        """
        try:
            async with asyncio.timeout(self.time_left(turn)) as clock:
                items = await self._compacted(turn, await self._read(turn, history), output, journal)
                toolbox = await self.toolboxes.open(turn, [*history, *turn.input], output, journal)
                loop = AgentLoop(turn, items, toolbox, self.models, journal, output, leaving, self.settings)
                return await loop.run(approved_by(turn.input, [*history, *turn.input]))
        except TimeoutError:
            if not clock.expired():
                raise
            return incomplete("deadline", journal, output)

    def time_left(self, turn: Turn) -> float:
        """Return how many seconds a turn may still take; less than zero if it is overdue."""
        age = (datetime.now(UTC) - turn.created_at).total_seconds()
        return float(turn.request.get("deadline", self.settings.deadline)) - age

    async def count_tokens(self, turn: Turn, history: list[Item]) -> int:
        """Return how many tokens a model reads for a turn, as its provider counts them. Raises TurnError."""
        return await self.models.count(turn, await self._read(turn, history))

    async def compact(self, turn: Turn, history: list[Item]) -> tuple[list[Item], dict[str, Any] | None]:
        """Return the user's messages and the item that all before stands in, and the usage. Raises TurnError."""
        usage = Usage()
        items = await self._read(turn, history)
        sealed = await self.models.sum_up(turn, items, usage)
        kept = [item for item in items if item.get("role") == "user"]
        return [*kept, _compaction(turn, sealed)], usage.shown()

    async def _read(self, turn: Turn, history: list[Item]) -> list[Item]:
        """Return all that the model is to read, with what it refers to."""
        preface, past = _preface(turn.request), since_compaction(history)
        earlier = range(len(preface), len(preface) + len(past))
        return await self.attachments.resolve(preface + past + turn.input, earlier=earlier)

    async def _compacted(self, turn: Turn, items: list[Item], output: Output, journal: Journal) -> list[Item]:
        """Return the items with all that came before summed up, if they have grown to what the client said."""
        if compacted := next((item for item in journal.items if item["type"] == "compaction"), None):
            return _behind(compacted, turn, items)
        for entry in turn.request.get("context_management", ()):
            threshold, usage = entry["compact_threshold"], Usage()
            likely = len(orjson.dumps(items)) // BYTES_A_TOKEN * 2 >= threshold
            if likely and not journal.steps and await self.models.count(turn, items) >= threshold:
                step = journal.begin("compaction", items)
                item = _compaction(turn, await self.models.sum_up(turn, items, usage))
                await journal.write(finished(step, [item], usage=usage.shown()))
                output.announce([item])
                return _behind(item, turn, items)
        return items


def since_compaction(history: list[Item]) -> list[Item]:
    """Return what of a history still counts: a compaction stands for all before it."""
    last = max((place for place, item in enumerate(history) if item["type"] == "compaction"), default=0)
    return history[last:]


def _compaction(turn: Turn, sealed: dict[str, str]) -> Item:
    return {"type": "compaction", "id": item_id("cmp_", turn.id), **sealed}


def _behind(compaction: Item, turn: Turn, items: list[Item]) -> list[Item]:
    """Return the items with those before the turn's own in a compaction."""
    preface, own = len(_preface(turn.request)), len(items) - len(turn.input)
    return [*items[:preface], compaction, *items[_with_calls(items, own) :]]


def _with_calls(items: list[Item], own: int) -> int:
    """Return where a turn's own items begin, which stand from `own` on, with the calls that they answer."""
    answered = {item["call_id"] for item in items[own:] if item["type"] in OUTPUTS}
    return next((place for place, item in enumerate(items[:own]) if item.get("call_id") in answered), own)


def _preface(asked: dict[str, Any]) -> list[Item]:
    """Return what stands before the conversation: the prompt, and the instructions."""
    instructions = asked.get("instructions") or []
    if isinstance(instructions, str):
        content = [{"type": "input_text", "text": instructions}]
        instructions = [{"type": "message", "role": "system", "content": content}]
    return [*asked.get("prompt_items", ()), *instructions]
