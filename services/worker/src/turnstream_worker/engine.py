"""The turn engine: the items so far go to the model, and its answer becomes the turn's output."""

import asyncio
import random
from dataclasses import dataclass, replace
from typing import Any

import orjson

from turnstream.errors import ModelError
from turnstream.ids import item_id
from turnstream.logs import log
from turnstream.turns import Item, Outcome, Turn
from turnstream_worker.answer import Answer
from turnstream_worker.attachments import Attachments
from turnstream_worker.chat_request import chat_request
from turnstream_worker.messages import OUTPUTS, Message, Reader
from turnstream_worker.output import Output
from turnstream_worker.sealing import Sealing
from turnstream_worker.settings import WorkerSettings
from turnstream_worker.stack import Stack
from turnstream_worker.summary import sum_up_conversation, sum_up_thoughts
from turnstream_worker.truncation import without_middle
from turnstream_worker.usage import Usage

TOO_LONG = "context_length_exceeded"
SEALED_REASONING = "reasoning.encrypted_content"
TRUNCATIONS = 8  # times that a conversation is made shorter; a tenth of it is left then
BYTES_A_TOKEN = 4  # of a conversation as JSON, at least half of what any tokenizer makes of it
FIRST_PAUSE = 0.25  # seconds, doubled with each try, where the provider names no longer time
JITTER = 0.25  # share of a pause that is left to chance, so that turns refused together do not come back together


@dataclass(frozen=True, slots=True)
class Engine:
    """What turns are run on."""

    stack: Stack
    attachments: Attachments
    sealing: Sealing
    settings: WorkerSettings

    async def run(self, turn: Turn, history: list[Item], output: Output) -> Outcome:
        """Run a turn's model calls, stream what they say into `output`, and return how the turn ends.

        An answer larger than `max_output` characters is cut off and incomplete. Raises ModelError if the model fails.
        """
        usage = Usage()
        items = await self._read(turn, history)
        items = await self._compacted(turn, items, output, usage)
        answer = await self._answer(turn, items, output, usage)
        return replace(answer.outcome(), usage=usage.shown())

    async def count_tokens(self, turn: Turn, history: list[Item]) -> int:
        """Return how many tokens a model reads for a turn, as its provider counts them. Raises ModelError."""
        return await self._count(turn, await self._read(turn, history))

    async def compact(self, turn: Turn, history: list[Item]) -> tuple[list[Item], dict[str, Any] | None]:
        """Return the user's messages and the item that all before stands in, and the usage. Raises ModelError."""
        usage = Usage()
        items = await self._read(turn, history)
        sealed = await self._sum_up(turn, items, usage)
        kept = [item for item in items if item.get("role") == "user"]
        return [*kept, {"type": "compaction", "id": item_id("cmp_", turn.id), **sealed}], usage.shown()

    async def _read(self, turn: Turn, history: list[Item]) -> list[Item]:
        """Return all that the model is to read, with what it refers to."""
        preface, past = _preface(turn.request), since_compaction(history)
        earlier = range(len(preface), len(preface) + len(past))
        return await self.attachments.resolve(preface + past + turn.input, earlier=earlier)

    # Compaction

    async def _compacted(self, turn: Turn, items: list[Item], output: Output, usage: Usage) -> list[Item]:
        """Return the items with all that came before summed up, if they have grown to what the client said."""
        for entry in turn.request.get("context_management", ()):
            threshold = entry["compact_threshold"]
            likely = len(orjson.dumps(items)) // BYTES_A_TOKEN * 2 >= threshold
            if likely and await self._count(turn, items) >= threshold:
                item = output.put("compaction", "cmp_", **await self._sum_up(turn, items, usage))
                preface, own = len(_preface(turn.request)), len(items) - len(turn.input)
                return [*items[:preface], item, *items[_with_calls(items, own) :]]
        return items

    async def _sum_up(self, turn: Turn, items: list[Item], usage: Usage) -> dict[str, str]:
        messages = self._reader(turn).messages(items)
        summary = await sum_up_conversation(self.stack, turn.request["model"], messages, usage)
        return {"encrypted_content": self.sealing.seal(turn.tenant, summary)}

    async def _count(self, turn: Turn, items: list[Item]) -> int:
        # Only the provider knows its tokenizer and template. It counts what it reads, whatever it goes on to say.
        request = {**chat_request(turn.request, self._reader(turn).messages(items)), "max_tokens": 1}
        counted: int | None = None
        async for chunks in self.stack.chat(request):
            for chunk in chunks:
                counted = (chunk.get("usage") or {}).get("prompt_tokens", counted)
        if counted is None:
            raise ModelError("The model's provider does not count tokens.")
        return counted

    # The answer

    async def _answer(self, turn: Turn, items: list[Item], output: Output, usage: Usage) -> Answer:
        """Return the model's answer, asked again where its provider says that this may help, and nothing was shown."""
        asked, shown = turn.request, output.size
        tries, truncations = 1, 0
        while True:
            answer = Answer(asked, output, limit=self.settings.max_output)
            try:
                await self._stream(turn, self._reader(turn).messages(items), answer, output, usage)
            except ModelError as error:
                if output.size > shown:
                    raise
                if error.code == TOO_LONG and asked.get("truncation") == "auto" and truncations < TRUNCATIONS:
                    truncations += 1
                    items = _shortened(items, error)
                elif error.retry_after is not None and tries < self.settings.model_tries:
                    pause = max(error.retry_after, FIRST_PAUSE * 2 ** (tries - 1)) * (1 + JITTER * random.random())  # noqa: S311 - no secret
                    log.warning("model.retry", turn=turn.id, code=error.code, seconds=round(pause, 2))
                    await asyncio.sleep(pause)
                    tries += 1
                else:
                    raise
            else:
                return answer
            finally:
                usage.add(answer.usage)

    async def _stream(self, turn: Turn, messages: list[Message], answer: Answer, output: Output, usage: Usage) -> None:
        async for chunks in self.stack.chat(chat_request(turn.request, messages)):
            for chunk in chunks:
                answer.think(chunk)
                if answer.ends_thoughts(chunk):
                    await self._end_thoughts(turn, output, usage)
                    answer.thinking = False
                answer.read(chunk)
            await output.room()
            if answer.full:
                break

    async def _end_thoughts(self, turn: Turn, output: Output, usage: Usage) -> None:
        """Close a whole reasoning item, summed up and sealed as far as that is asked for."""
        thoughts, asked = output.written, turn.request
        if style := asked.get("reasoning", {}).get("summary"):
            async for text in sum_up_thoughts(self.stack, asked["model"], thoughts, style, usage):
                output.text("summary_text", text)
        sealed = SEALED_REASONING in asked.get("include", ())
        fields = {"encrypted_content": self.sealing.seal(turn.tenant, thoughts)} if sealed else {}
        output.close_item("completed", **fields)

    def _reader(self, turn: Turn) -> Reader:
        return Reader(self.sealing, turn.tenant)


def since_compaction(history: list[Item]) -> list[Item]:
    """Return what of a history still counts: a compaction stands for all before it."""
    last = max((place for place, item in enumerate(history) if item["type"] == "compaction"), default=0)
    return history[last:]


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


def _shortened(items: list[Item], error: ModelError) -> list[Item]:
    shorter = without_middle(items)
    if shorter is None:
        raise error
    return shorter
