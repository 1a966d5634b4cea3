"""A model's answer becomes output items, however its provider cuts it into chunks."""

from dataclasses import dataclass
from typing import Any

import pytest
from support.scripted_stack import called, delta, finished, piece, said, thought, used
from support.turns import a_turn, unchallenged

from turnstream.errors import ModelError
from turnstream.memory import MemoryBus
from turnstream.turns import Item
from turnstream_worker.answer import CALLS_LIMIT, Answer, client_call
from turnstream_worker.chat_stream import Chunk
from turnstream_worker.event_log import EventLog
from turnstream_worker.log_state import LogState
from turnstream_worker.output import Output

LOGPROBS: dict[str, Any] = {"include": ["message.output_text.logprobs"]}
FUNCTION = {"type": "function", "name": "f"}
CUSTOM = {"type": "custom", "name": "g"}


@dataclass
class Read:
    """An answer that was read, and what it came to."""

    answer: Answer
    output: list[Item]

    @property
    def items(self) -> list[Item]:
        """Its items, without their ids."""
        return [{name: value for name, value in item.items() if name != "id"} for item in self.output]


async def read(*chunks: Chunk, limit: int = 1000, **asked: Any) -> Read:
    """Read an answer to a request that asks for this."""
    log = EventLog(MemoryBus(), a_turn(), unchallenged)
    output = Output("resp_1", log, LogState())
    answer = Answer({"model": "m", **asked}, output, limit=limit)
    for chunk in chunks:
        answer.think(chunk)
        answer.read(chunk)
    answer.end()
    await log.flush()
    calls = [client_call(call, call.name == "g", "resp_1") for call in answer.calls]
    return Read(answer, [*output.items, *calls])


def message(text: str, status: str = "completed", logprobs: list[Any] | None = None) -> Item:
    """Make a message of the model's, without its id."""
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs or []}
    return {"type": "message", "role": "assistant", "content": [part], "status": status}


def reasoning(text: str, status: str = "completed") -> Item:
    """Make a reasoning item, without its id."""
    return {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": text}], "status": status}


def function_call(call: str, arguments: str, name: str = "f") -> Item:
    """Make a function's call, without its id."""
    return {"type": "function_call", "call_id": call, "name": name, "arguments": arguments, "status": "completed"}


def custom_call(given: str) -> Item:
    """Make a custom tool's call, without its id."""
    return {"type": "custom_tool_call", "call_id": "a", "name": "g", "input": given, "status": "completed"}


# Text


async def test_text() -> None:
    """The chunks of a text are one message."""
    answer = await read(delta(role="assistant", content=""), said("he"), said("llo"), finished())
    assert answer.items == [message("hello")]
    assert answer.answer.reason is None


@pytest.mark.parametrize(
    "empty",
    [
        {},
        {"choices": []},
        {"choices": None, "usage": None, "service_tier": None},
        {"choices": [{"index": 0, "delta": None, "finish_reason": None}]},
        delta(content=None, tool_calls=None, refusal=None, reasoning=None, reasoning_content=None),
        delta(content="", tool_calls=[], refusal="", reasoning="", reasoning_content=""),
        delta(content=["what providers call a list of parts"], reasoning={}),
    ],
)
async def test_chunk_that_says_nothing(empty: Chunk) -> None:
    """A chunk without anything in it changes nothing, whatever it leaves out."""
    assert (await read(said("he"), empty, said("llo"), empty)).items == [message("hello")]


async def test_nothing_was_said() -> None:
    """An answer of nothing has no items, and is completed."""
    assert (await read(finished())).items == []


async def test_refusal() -> None:
    """A refusal is a part of its own, behind what was said before it."""
    [item] = (await read(said("Well."), delta(refusal="I "), delta(refusal="will not."), finished())).items
    assert item["content"] == [*message("Well.")["content"], {"type": "refusal", "refusal": "I will not."}]


@pytest.mark.parametrize(
    ("finish", "status", "reason"),
    [
        ("stop", "completed", None),
        ("tool_calls", "completed", None),
        ("what a provider makes up", "completed", None),
        ("length", "incomplete", "max_output_tokens"),
        ("content_filter", "incomplete", "content_filter"),
    ],
)
async def test_reason_to_finish(finish: str, status: str, reason: str | None) -> None:
    """An answer that was cut off is incomplete and says why, wherever in the stream the reason came."""
    for chunks in ([said("hi"), finished(finish)], [delta(finish, content="hi"), used(1), delta()]):
        answer = await read(*chunks)
        assert answer.answer.reason == reason
        assert answer.items == [message("hi", status)]


async def test_usage_and_tier() -> None:
    """What the provider says last of its tokens counts, and the tier that it ran the request in is kept."""
    answer = await read({**said("he"), "service_tier": "flex", **used(5, 1)}, said("llo"), used(5, 2))
    assert answer.answer.usage == {"prompt_tokens": 5, "completion_tokens": 2}
    assert answer.answer.service_tier == "flex"
    assert (await read(said("hi"))).answer.service_tier is None


# Reasoning


@pytest.mark.parametrize("names", [["reasoning_content"], ["reasoning"], ["reasoning_content", "reasoning"]])
async def test_reasoning(names: list[str]) -> None:
    """Reasoning is an item before the answer, once, by whichever name a provider calls it, or by both."""
    thoughts = [delta(**dict.fromkeys(names, text)) for text in ("h", "m")]
    answer = await read(*thoughts, said("hi"), finished())
    assert answer.items == [reasoning("hm"), message("hi")]


async def test_reasoning_and_text_in_one_chunk() -> None:
    """A chunk that ends the reasoning and begins the answer adds to both."""
    answer = await read(thought("h"), delta(reasoning_content="m", content="h"), said("i"))
    assert answer.items == [reasoning("hm"), message("hi")]


async def test_reasoning_is_cut_off() -> None:
    """Reasoning that was cut off is incomplete, and no answer follows it."""
    answer = await read(thought("hm"), finished("length"))
    assert answer.items == [reasoning("hm", "incomplete")]


@pytest.mark.parametrize("chunk", [said("x"), delta(refusal="x"), called(piece(0, "{}"))])
async def test_what_ends_reasoning(chunk: Chunk) -> None:
    """Reasoning is over when something is said or called, and not by what says nothing."""
    answer = (await read(thought("hm"))).answer
    assert answer.ends_thoughts(chunk)
    for silent in (thought("m"), delta(content=""), finished(), used(1), {}):
        assert not answer.ends_thoughts(silent)
    assert not (await read(said("hi"))).answer.ends_thoughts(chunk)


# Probabilities


async def test_logprobs() -> None:
    """The probabilities of tokens stand with their text, in the specification's form."""
    token = {"token": "é", "logprob": -0.5, "bytes": [195, 169]}
    chunk = said("é")
    chunk["choices"][0]["logprobs"] = {"content": [{**token, "top_logprobs": [token, {**token, "token": "e"}]}]}
    answer = await read(chunk, **LOGPROBS)
    top = [{**token}, {**token, "token": "e"}]
    assert answer.items == [message("é", logprobs=[{**token, "top_logprobs": top}])]


@pytest.mark.parametrize("left_out", [{}, {"bytes": None, "top_logprobs": None}])
async def test_logprobs_without_bytes(left_out: dict[str, Any]) -> None:
    """Bytes that a provider leaves out are those of the token: the specification requires them."""
    chunk = said("é")
    chunk["choices"][0]["logprobs"] = {"content": [{"token": "é", "logprob": 0, **left_out}]}
    rated = {"token": "é", "logprob": 0.0, "bytes": [195, 169], "top_logprobs": []}
    assert (await read(chunk, top_logprobs=1)).items == [message("é", logprobs=[rated])]


@pytest.mark.parametrize(
    ("logprobs", "asked"), [(None, LOGPROBS), ({}, LOGPROBS), ({"content": None}, LOGPROBS), ({"content": [{}]}, {})]
)
async def test_no_logprobs(logprobs: Any, asked: dict[str, Any]) -> None:
    """There are no probabilities where a provider sends none, or nobody asked for them."""
    chunk = said("hi")
    chunk["choices"][0]["logprobs"] = logprobs
    assert (await read(chunk, **asked)).items == [message("hi")]


# Calls


async def test_call_in_pieces() -> None:
    """A call is put together from its pieces."""
    answer = await read(
        called(piece(0, call="a", name="f")), called(piece(0, '{"x"')), called(piece(0, ": 1}")), finished("tool_calls")
    )
    assert answer.items == [function_call("a", '{"x": 1}')]


async def test_calls_in_pieces_that_mix() -> None:
    """Pieces of several calls are told apart by their index."""
    answer = await read(
        called(piece(0, "1", call="a", name="f"), piece(1, call="b", name="h")),
        called(piece(1, "2")),
        called(piece(0, "1")),
    )
    assert answer.items == [function_call("a", "11"), function_call("b", "2", "h")]


async def test_calls_without_an_index() -> None:
    """Where a provider leaves the index out, a new id begins a new call, and what has no other belongs to the last."""
    answer = await read(
        called(piece(None, "{}", call="a", name="f"), piece(None, "1", call="b", name="h")),
        called(piece(None, "2"), piece(None, "3", call="b"), piece(None, "4", call="")),
    )
    assert answer.items == [function_call("a", "{}"), function_call("b", "1234", "h")]


async def test_call_without_an_id_or_arguments() -> None:
    """A call that a provider gave no id gets one, by which its output can name it; no arguments are an empty object."""
    [first, second] = (await read(called(piece(0, name="f"), piece(1, name="f")))).items
    assert first["call_id"].startswith("call_")
    assert first["call_id"] != second["call_id"]
    assert first["arguments"] == "{}"


async def test_calls_stand_behind_the_text() -> None:
    """What a model says before it calls is a message before the calls."""
    answer = await read(thought("hm"), said("let me see"), called(piece(0, "{}", call="a", name="f")))
    assert answer.items == [reasoning("hm"), message("let me see"), function_call("a", "{}")]


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        ('{"input": "x = 1"}', "x = 1"),
        ('{"input": ""}', ""),
        ("x = 1", "x = 1"),
        ("", ""),
        ('{"input": 1}', '{"input": 1}'),
        ('{"input": "a", "b": 1}', '{"input": "a", "b": 1}'),
        ("[1]", "[1]"),
        ('"x"', '"x"'),
    ],
)
async def test_custom_call(arguments: str, given: str) -> None:
    """A custom tool's call holds the text alone; what does not fit the function that the model saw is text as it is."""
    answer = await read(called(piece(0, arguments, call="a", name="g")), tools=[FUNCTION, CUSTOM])
    assert answer.items == [custom_call(given)]


async def test_custom_call_of_the_provider() -> None:
    """A call of a tool with a grammar comes by another name, and is the same."""
    pieces = [{"index": 0, "id": "a", "custom": {"name": "g", "input": "x "}}, {"index": 0, "custom": {"input": "= 1"}}]
    answer = await read(*(called(one) for one in pieces), tools=[CUSTOM])
    assert answer.items == [custom_call("x = 1")]


@pytest.mark.parametrize(
    ("asked", "count"),
    [
        ({}, 3),
        ({"max_tool_calls": 2}, 2),
        ({"parallel_tool_calls": False}, 1),
        ({"parallel_tool_calls": True, "max_tool_calls": 9}, 3),
        ({"parallel_tool_calls": False, "max_tool_calls": 2}, 1),
    ],
)
async def test_number_of_calls(asked: dict[str, Any], count: int) -> None:
    """No more calls are shown than the client takes, the first ones, also from a model that does not care."""
    pieces = [piece(index, "{}", call=call, name="f") for index, call in enumerate("abc")]
    answer = await read(called(*pieces), **asked)
    assert answer.items == [function_call(call, "{}") for call in "abc"[:count]]


async def test_too_many_calls() -> None:
    """A model that calls without end is stopped."""
    pieces = [piece(index, name="f") for index in range(CALLS_LIMIT)]
    assert len((await read(called(*pieces))).items) == CALLS_LIMIT
    with pytest.raises(ModelError, match=str(CALLS_LIMIT)):
        await read(called(*pieces, piece(CALLS_LIMIT, name="f")))


@pytest.mark.parametrize("finish", ["length", "content_filter"])
async def test_calls_of_an_answer_that_was_cut_off(finish: str) -> None:
    """Calls of an answer that was cut off are not shown: their arguments may lack their end."""
    answer = await read(said("so"), called(piece(0, '{"x', call="a", name="f")), finished(finish))
    assert answer.items == [message("so", "incomplete")]


# Size


@pytest.mark.parametrize("fill", [said, thought, lambda text: delta(refusal=text), lambda text: called(piece(0, text))])
async def test_full(fill: Any) -> None:
    """An answer is full once it has more characters than it may have, of whatever kind; then it is incomplete."""
    assert not (await read(fill("x" * 10), limit=10)).answer.full
    answer = await read(fill("x" * 10), fill("x"), finished(), limit=10)
    assert answer.answer.full
    assert answer.answer.reason == "max_output_tokens"
    assert [item for item in answer.items if item["type"] == "function_call"] == []
