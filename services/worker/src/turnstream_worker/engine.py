"""The turn engine: the items so far go to the model, and its answer becomes the turn's output."""

from dataclasses import dataclass
from typing import Any

from turnstream.ids import new_id
from turnstream.turns import Item, Outcome, Turn
from turnstream_worker.chat_stream import Chunk
from turnstream_worker.messages import chat_messages, chat_tool_choice, chat_tools
from turnstream_worker.output import Output
from turnstream_worker.stack import Stack

# A chat completion's reasons to finish that leave an answer incomplete, by the specification's names.
INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
# Parameters that a chat completion takes by the same name.
PASSED_ON = (
    "temperature",
    "top_p",
    "presence_penalty",
    "frequency_penalty",
    "user",
    "safety_identifier",
    "prompt_cache_key",
)


@dataclass(slots=True)
class _Call:
    """A function call as its pieces arrive."""

    id: str = ""
    name: str = ""
    arguments: str = ""


async def run_engine(turn: Turn, history: list[Item], stack: Stack, output: Output, max_output: int) -> Outcome:
    """Run the turn's model call; stream its text into `output` and return how the turn ends.

    An answer larger than `max_output` characters is cut off and incomplete. Raises ModelError if the model fails.
    """
    answer = _Answer(output, max_output)
    async for chunks in stack.chat(_chat_request(turn, history)):
        for chunk in chunks:
            answer.read(chunk)
        await output.room()
        if answer.full:
            break
    return answer.outcome()


class _Answer:
    """The model's answer as its chunks arrive."""

    def __init__(self, output: Output, max_output: int) -> None:
        self._output = output
        self._max_output = max_output
        self._calls: dict[int, _Call] = {}
        self._finish = "stop"
        self._usage: dict[str, Any] | None = None

    @property
    def full(self) -> bool:
        """Whether it has grown as large as it may."""
        return self._output.size + sum(len(call.arguments) for call in self._calls.values()) > self._max_output

    def read(self, chunk: Chunk) -> None:
        """Take in the next chunk."""
        if usage := chunk.get("usage"):
            self._usage = _usage(usage)
        for choice in chunk.get("choices") or ():
            delta = choice.get("delta") or {}
            # A refusal is something that the model says, and has to be seen.
            for said in (delta.get("content"), delta.get("refusal")):
                if said and isinstance(said, str):
                    self._output.text(said)
            for piece in delta.get("tool_calls") or ():
                self._read_call(piece)
            self._finish = choice.get("finish_reason") or self._finish

    def outcome(self) -> Outcome:
        """Close what is open and return how the turn ends."""
        reason = "max_output_tokens" if self.full else INCOMPLETE.get(self._finish)
        self._output.close_message("incomplete" if reason else "completed")
        if reason is None:
            for call in self._calls.values():
                self._output.add_call(call.id or new_id("call_"), call.name, call.arguments or "{}")
        return Outcome(
            "incomplete" if reason else "completed",
            self._output.items,
            usage=self._usage,
            incomplete={"reason": reason} if reason else None,
        )

    def _read_call(self, piece: dict[str, Any]) -> None:
        call = self._calls.setdefault(piece.get("index") or 0, _Call())
        function = piece.get("function") or {}
        call.id = piece.get("id") or call.id
        call.name = function.get("name") or call.name
        call.arguments += function.get("arguments") or ""


def _chat_request(turn: Turn, history: list[Item]) -> dict[str, Any]:
    asked = turn.request
    request: dict[str, Any] = {
        "model": asked["model"],
        "messages": chat_messages(asked.get("instructions"), history + turn.input),
        **{key: asked[key] for key in PASSED_ON if asked.get(key) is not None},
    }
    if asked.get("max_output_tokens") is not None:
        request["max_tokens"] = asked["max_output_tokens"]
    if asked.get("tools") and asked.get("tool_choice") != "none":
        request["tools"] = chat_tools(asked["tools"])
        if asked.get("tool_choice") is not None:
            request["tool_choice"] = chat_tool_choice(asked["tool_choice"])
        if asked.get("parallel_tool_calls") is not None:
            request["parallel_tool_calls"] = asked["parallel_tool_calls"]
    return request


def _usage(usage: dict[str, Any]) -> dict[str, Any]:
    """Return a chat completion's usage in tokens, as the specification names it."""
    read = usage.get("prompt_tokens") or 0
    written = usage.get("completion_tokens") or 0
    return {
        "input_tokens": read,
        "input_tokens_details": {
            "cached_tokens": (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0,
        },
        "output_tokens": written,
        "output_tokens_details": {
            "reasoning_tokens": (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0,
        },
        "total_tokens": usage.get("total_tokens") or read + written,
    }
