"""A model's answer, written into a turn's output as its chunks arrive."""

from dataclasses import dataclass, replace
from typing import Any

import orjson

from turnstream.errors import ModelError
from turnstream.ids import item_id, new_id
from turnstream.turns import Item
from turnstream_worker.chat_request import wants_logprobs
from turnstream_worker.chat_stream import Chunk
from turnstream_worker.output import Output

# A chat completion's reasons to finish that leave an answer incomplete, by the specification's names.
INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
CALLS_LIMIT = 128  # calls in one answer
CALL_ID_LIMIT = 128  # characters, as many as a client may send back


@dataclass(slots=True)
class Call:
    """A tool's call as its pieces arrive."""

    id: str = ""
    name: str = ""
    arguments: str = ""


class Answer:
    """The answer to one chat completion."""

    def __init__(self, asked: dict[str, Any], output: Output, *, limit: int) -> None:
        self._calls_limit = min(
            asked.get("max_tool_calls", CALLS_LIMIT), 1 if asked.get("parallel_tool_calls") is False else CALLS_LIMIT
        )
        self._logprobs = wants_logprobs(asked)
        self._output = output
        self._limit = limit  # characters
        self.usage: dict[str, Any] = {}
        self.thinking = False  # whether its reasoning is what is being written
        self._calls: list[Call] = []
        self._growing: dict[int | None, Call] = {}  # the last one of each index
        self._finish = "stop"
        self.service_tier: str | None = None

    @property
    def full(self) -> bool:
        """Whether it has grown as large as it may."""
        return self._output.size + sum(len(call.arguments) for call in self._calls) > self._limit

    def think(self, chunk: Chunk) -> None:
        """Take in what the next chunk adds to the reasoning, which is before what it says."""
        for choice in chunk.get("choices") or ():
            delta = choice.get("delta") or {}
            # vLLM and others say `reasoning_content`, some `reasoning`, and some both of the same text.
            thought = delta.get("reasoning_content") or delta.get("reasoning")
            if thought and isinstance(thought, str):
                self.thinking = True
                self._output.text("reasoning_text", thought)

    def read(self, chunk: Chunk) -> None:
        """Take in what the next chunk holds besides reasoning."""
        if usage := chunk.get("usage"):
            self.usage = usage  # some servers send it along with every chunk: the last one counts
        if tier := chunk.get("service_tier"):
            self.service_tier = str(tier)
        for choice in chunk.get("choices") or ():
            delta = choice.get("delta") or {}
            self._write("output_text", delta.get("content"), choice)
            self._write("refusal", delta.get("refusal"))
            for piece in delta.get("tool_calls") or ():
                self._read_call(piece)
            self._finish = choice.get("finish_reason") or self._finish

    @property
    def calls(self) -> list[Call]:
        """The calls that it makes, each with an id; none of an answer that was cut off."""
        if self.reason:
            return []
        return [
            replace(call, id=call.id[:CALL_ID_LIMIT] or new_id("call_")) for call in self._calls[: self._calls_limit]
        ]

    @property
    def reason(self) -> str | None:
        """Why it is incomplete, or None."""
        return "max_output_tokens" if self.full else INCOMPLETE.get(self._finish)

    def end(self) -> None:
        """Close the text that is open, to be told once it is stored."""
        self._output.hold_item("incomplete" if self.reason else "completed")

    def ends_thoughts(self, chunk: Chunk) -> bool:
        """Tell whether its reasoning is over with this chunk."""
        deltas = [choice.get("delta") or {} for choice in chunk.get("choices") or ()] if self.thinking else []
        return any(delta.get(said) for delta in deltas for said in ("content", "refusal", "tool_calls"))

    def _write(self, kind: str, said: Any, choice: dict[str, Any] | None = None) -> None:
        if said and isinstance(said, str):
            self._output.text(kind, said, _logprobs(choice) if choice and self._logprobs else None)

    def _read_call(self, piece: dict[str, Any]) -> None:
        call = self._call_of(piece.get("index"), piece.get("id") or "")
        if len(self._calls) > CALLS_LIMIT:
            raise ModelError(f"The model made more than {CALLS_LIMIT} calls at a time.")
        function = piece.get("function") or piece.get("custom") or {}
        call.name = function.get("name") or call.name
        call.arguments += function.get("arguments") or function.get("input") or ""

    def _call_of(self, index: int | None, call_id: str) -> Call:
        """Return the call that a piece belongs to: some providers give no index, or all calls the same one."""
        call = self._growing.get(index)
        if call is None or (call_id and call.id not in {"", call_id}):
            call = self._growing[index] = Call()
            self._calls.append(call)
        call.id = call_id or call.id
        return call


def client_call(call: Call, custom: bool, turn: str) -> Item:
    """Return a call of a tool that the client runs, as an item."""
    named = {"call_id": call.id, "name": call.name}
    if custom:
        given = {"input": _input(call.arguments)}
        return {"type": "custom_tool_call", "id": item_id("ctc_", turn), **named, **given, "status": "completed"}
    given = {"arguments": call.arguments or "{}"}
    return {"type": "function_call", "id": item_id("fc_", turn), **named, **given, "status": "completed"}


def _input(arguments: str) -> str:
    """Return the text for a custom tool: the argument of the function that the model saw, or what a grammar made."""
    try:
        parsed = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return arguments
    if isinstance(parsed, dict) and parsed.keys() == {"input"} and isinstance(parsed["input"], str):
        return parsed["input"]
    return arguments


def _logprobs(choice: dict[str, Any]) -> list[dict[str, Any]]:
    tokens = (choice.get("logprobs") or {}).get("content") or ()
    return [
        {**_rated(token), "top_logprobs": [_rated(top) for top in token.get("top_logprobs") or ()]} for token in tokens
    ]


def _rated(token: dict[str, Any]) -> dict[str, Any]:
    text = str(token.get("token", ""))
    known = token.get("bytes")
    return {
        "token": text,
        "logprob": float(token.get("logprob") or 0.0),
        "bytes": known if isinstance(known, list) else list(text.encode(errors="replace")),
    }
