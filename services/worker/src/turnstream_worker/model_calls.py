"""Ask a model: for an answer, how many tokens it reads, and what a conversation comes to in short."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from turnstream.errors import ModelError
from turnstream.logs import log
from turnstream.turns import Item, Turn
from turnstream_worker.answer import Answer
from turnstream_worker.chat_request import chat_request
from turnstream_worker.messages import Reader
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
FIRST_PAUSE = 0.25  # seconds, doubled with each try, where the provider names no longer time
JITTER = 0.25  # share of a pause that is left to chance, so that turns refused together do not come back together


@dataclass(frozen=True, slots=True)
class ModelCalls:
    """What models are asked with. Every method raises TurnError: a ModelError if it is the model that fails."""

    stack: Stack
    sealing: Sealing
    settings: WorkerSettings

    async def sum_up(self, turn: Turn, items: list[Item], usage: Usage) -> dict[str, str]:
        """Return the field of a compaction item that all of these items stand in."""
        messages = self._reader(turn).messages(items)
        model = turn.request["model"]
        summary = await self._ask(turn, lambda: sum_up_conversation(self.stack, model, messages, usage))
        return {"encrypted_content": self.sealing.seal(turn.tenant, summary)}

    async def count(self, turn: Turn, items: list[Item]) -> int:
        """Return how many tokens the model reads for these items, as its provider counts them."""
        # Only the provider knows its tokenizer and template. It counts what it reads, whatever it goes on to say.
        request = {**chat_request(turn.request, self._reader(turn).messages(items)), "max_tokens": 1}
        counted = await self._ask(turn, lambda: self._count(request))
        if counted is None:
            raise ModelError("The model's provider does not count tokens.")
        return counted

    async def answer(
        self, turn: Turn, asked: dict[str, Any], items: list[Item], output: Output, usage: Usage
    ) -> Answer:
        """Return the model's answer to what is asked, streamed into `output`.

        It is asked again where its provider says that this may help, and nothing was shown.
        """
        shown = output.size
        tries, truncations = 1, 0
        while True:
            answer = Answer(asked, output, limit=self.settings.max_output)
            try:
                request = chat_request(asked, self._reader(turn).messages(items))
                await self._stream(turn, request, answer, output, usage)
            except ModelError as error:
                if output.size > shown:
                    raise
                if error.code == TOO_LONG and asked.get("truncation") == "auto" and truncations < TRUNCATIONS:
                    truncations += 1
                    items = _shortened(items, error)
                else:
                    await self._pause(turn, error, tries)
                    tries += 1
            else:
                return answer
            finally:
                usage.add(answer.usage)

    async def _ask[T](self, turn: Turn, ask: Callable[[], Awaitable[T]]) -> T:
        """Return what a call comes to of which nothing is shown meanwhile; it is made again where this may help."""
        tries = 1
        while True:
            try:
                return await ask()
            except ModelError as error:
                await self._pause(turn, error, tries)
                tries += 1

    async def _pause(self, turn: Turn, error: ModelError, tries: int) -> None:
        """Wait before the next try; raise the error of the one before if none may help, or there were enough."""
        if error.retry_after is None or tries >= self.settings.model_tries:
            raise error
        pause = max(error.retry_after, FIRST_PAUSE * 2 ** (tries - 1)) * (1 + JITTER * random.random())  # noqa: S311 - no secret
        log.warning("model.retry", turn=turn.id, code=error.code, seconds=round(pause, 2))
        await asyncio.sleep(pause)

    async def _count(self, request: dict[str, Any]) -> int | None:
        counted: int | None = None
        async for chunks in self.stack.chat(request):
            for chunk in chunks:
                counted = (chunk.get("usage") or {}).get("prompt_tokens", counted)
        return counted

    async def _stream(self, turn: Turn, request: dict[str, Any], answer: Answer, output: Output, usage: Usage) -> None:
        async for chunks in self.stack.chat(request):
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
        """Close a whole reasoning item, summed up as far as that succeeds, and sealed, where that is asked for."""
        thoughts, asked = output.written, turn.request
        if style := asked.get("reasoning", {}).get("summary"):
            try:
                async for text in sum_up_thoughts(self.stack, asked["model"], thoughts, style, usage):
                    output.text("summary_text", text)
            except ModelError as error:  # the answer that follows is worth more
                log.warning("summary.failed", turn=turn.id, code=error.code)
        sealed = SEALED_REASONING in asked.get("include", ())
        output.close_item(**({"encrypted_content": self.sealing.seal(turn.tenant, thoughts)} if sealed else {}))

    def _reader(self, turn: Turn) -> Reader:
        return Reader(self.sealing, turn.tenant)


def _shortened(items: list[Item], error: ModelError) -> list[Item]:
    shorter = without_middle(items)
    if shorter is None:
        raise error
    return shorter
