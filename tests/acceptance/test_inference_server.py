"""Turns on a real inference server, llama.cpp's: what it streams, counts, refuses, and how it breaks.

Its model is tiny and speaks at random, so nothing is expected of what it says but the form that it was asked for.
"""

import asyncio
from collections.abc import AsyncIterator
from itertools import groupby
from typing import Any, Literal

import httpx
import pytest
from pydantic import BaseModel, ConfigDict
from support.inference_deployment import PATIENCE, PROVIDERS, SMALL, InferenceDeployment, on_inference_servers
from support.reader import NOTHING, Transcript, start, tally
from support.tiny_model import CONTEXT

# What a turn that says something is told by, with any number of deltas.
SPOKEN = [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.completed",
]
SILENT = [*SPOKEN[:2], SPOKEN[-1]]


class Painting(BaseModel):
    """What a model is to answer, or to call a function with."""

    model_config = ConfigDict(extra="forbid")

    colour: Literal["red", "blue"]
    twice: bool


PAINT: dict[str, Any] = {
    "type": "function",
    "name": "paint",
    "description": "Paints the wall.",
    "parameters": Painting.model_json_schema(),
    "strict": True,
}
WAIT: dict[str, Any] = {"type": "function", "name": "wait"}


@pytest.fixture(scope="module")
async def running() -> AsyncIterator[InferenceDeployment]:
    """Turnstream on inference servers of all sorts."""
    async with on_inference_servers() as deployment:
        yield deployment


@pytest.fixture
async def http(running: InferenceDeployment) -> AsyncIterator[httpx.AsyncClient]:
    """A plain HTTP client of the gateway."""
    async with httpx.AsyncClient(base_url=running.url, timeout=30) as client:
        yield client


def texts(transcript: Transcript) -> list[str]:
    """Return what the messages of a turn's output say."""
    output = transcript.response["output"]
    return [part["text"] for item in output if item["type"] == "message" for part in item["content"]]


def calls(transcript: Transcript) -> list[dict[str, Any]]:
    """Return the function calls of a turn's output."""
    return [item for item in transcript.response["output"] if item["type"] == "function_call"]


def failure(transcript: Transcript) -> tuple[str, str]:
    """Return a failed turn's code and message, which tells nothing of where the model runs."""
    assert transcript.kinds()[-1] == "response.failed"
    error = transcript.response["error"]
    assert not any(inside in error["message"] for inside in ("127.0.0.1", "http", "Traceback", "Error:"))
    return error["code"], error["message"]


async def test_models(http: httpx.AsyncClient) -> None:
    """The server's model is listed under each of its providers."""
    models = {model["id"] for model in (await http.get("/v1/models")).json()["data"]}
    assert {f"{name}/tiny" for name in (*PROVIDERS, "endless", "thinking", "crowded")} <= models


@pytest.mark.parametrize("name", PROVIDERS)
async def test_streamed(running: InferenceDeployment, http: httpx.AsyncClient, name: str) -> None:
    """Turns that run at a time each have their events in order, and deltas that add up to the text that is kept."""
    turns = await asyncio.gather(*(running.turn(f"{name}/tiny", input=f"Say {number}.") for number in range(8)))
    for turn in turns:
        assert turn.response["error"] is None
        assert [kind for kind, _ in groupby(turn.kinds())] in (SPOKEN, SILENT)
        assert (await http.get(f"/v1/responses/{turn.id}")).json() == turn.response
        for item in turn.response["output"]:
            assert turn.text_of(item["id"]) == item["content"][0]["text"]
    assert any(texts(turn) for turn in turns)


async def test_temperature_zero(running: InferenceDeployment) -> None:
    """The temperature reaches the model: at zero it says the same again."""
    first, second = [texts(await running.turn(input="Go on.", temperature=0, max_output_tokens=30)) for _ in range(2)]
    assert first == second != []


async def test_usage(running: InferenceDeployment) -> None:
    """A turn's tokens are the server's own count, and what it remembered of the prompt is told apart."""
    messages = [{"role": "system", "content": "Be bríef."}, {"role": "user", "content": "How are you?"}]
    body = {"instructions": "Be bríef.", "input": "How are you?", "max_output_tokens": 16}
    first, second = [(await running.turn("endless/tiny", **body)).response["usage"] for _ in range(2)]
    read = await running.endless.prompt_tokens(messages)
    assert (first["input_tokens"], first["output_tokens"], first["total_tokens"]) == (read, 16, read + 16)
    assert second["input_tokens_details"]["cached_tokens"] > first["input_tokens_details"]["cached_tokens"]
    assert second["total_tokens"] == first["total_tokens"]


async def test_out_of_tokens(running: InferenceDeployment) -> None:
    """An answer that is cut off at max_output_tokens is incomplete and says why."""
    turn = await running.turn("endless/tiny", input="Go on.", max_output_tokens=16)
    assert turn.response["status"] == "incomplete"
    assert turn.response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert turn.response["usage"]["output_tokens"] == 16
    assert [item["status"] for item in turn.response["output"]] == ["incomplete"]


async def test_out_of_context(running: InferenceDeployment) -> None:
    """An answer that is cut off where the context is full is incomplete, with what was said."""
    turn = await running.turn("endless/tiny", input="x" * (CONTEXT - 60))
    assert turn.response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert turn.response["usage"]["total_tokens"] == CONTEXT
    assert texts(turn) != []


async def test_conversation(running: InferenceDeployment, http: httpx.AsyncClient) -> None:
    """Over several turns of a conversation the model reads all that was said before, word for word."""
    conversation = (await http.post("/v1/conversations", json={})).json()["id"]
    messages: list[dict[str, Any]] = []
    for text in ("One.", "Zwölf.", "三。"):
        messages.append({"role": "user", "content": text})
        turn = await running.turn("endless/tiny", input=text, conversation=conversation, max_output_tokens=20)
        assert turn.response["usage"]["input_tokens"] == await running.endless.prompt_tokens(messages)
        messages += [{"role": "assistant", "content": said} for said in texts(turn)]
    assert len(messages) == 6


@pytest.mark.parametrize("name", PROVIDERS)
async def test_required_call(running: InferenceDeployment, name: str) -> None:
    """A tool that must be used is called, with arguments that fit its schema, after whatever is said before."""
    tools = {"tools": [PAINT], "tool_choice": "required", "parallel_tool_calls": False}
    turn = await running.turn(f"{name}/tiny", input="Paint it.", **tools)
    assert turn.response["status"] == "completed"
    done = [event for event in turn.events if event["type"] == "response.function_call_arguments.done"]
    assert [event["arguments"] for event in done] == [call["arguments"] for call in calls(turn)] != []
    for call in calls(turn):
        assert call["name"] == "paint"
        Painting.model_validate_json(call["arguments"])


async def test_several_calls(running: InferenceDeployment) -> None:
    """Calls that are made together have ids of their own, and the model reads what they returned."""
    for attempt in range(20):  # how many calls it makes is chance
        asked = {"role": "user", "content": f"Paint it {attempt} times."}
        first = await running.turn(input=[asked], tools=[PAINT], tool_choice="required")
        if first.response["status"] == "completed" and len(calls(first)) > 1:
            break
    made = calls(first)
    assert len({call["call_id"] for call in made}) == len(made) > 1
    for call in made:
        Painting.model_validate_json(call["arguments"])
    results = [{"type": "function_call_output", "call_id": call["call_id"], "output": "Done."} for call in made]
    second = await running.turn("endless/tiny", input=results, previous_response_id=first.id, max_output_tokens=16)
    functions = [{key: call[key] for key in ("name", "arguments")} for call in made]
    caller = {
        "role": "assistant",
        "content": "".join(texts(first)),
        "tool_calls": [{"type": "function", "id": "any", "function": function} for function in functions],
    }
    returned = [{"role": "tool", "tool_call_id": "any", "content": "Done."}] * len(made)
    read = await running.endless.prompt_tokens([asked, caller, *returned])
    assert second.response["usage"]["input_tokens"] == read


async def test_chosen_function(running: InferenceDeployment) -> None:
    """The one function that is chosen by its name is called, and no other."""
    choice = {"type": "function", "name": "wait"}
    for number in range(5):
        turn = await running.turn(input=f"Wait {number}.", tools=[PAINT, WAIT], tool_choice=choice)
        assert {call["name"] for call in calls(turn)} == {"wait"}


async def test_thought(running: InferenceDeployment) -> None:
    """What a model thinks before it answers is no part of what it says, and is counted."""
    async with httpx.AsyncClient(base_url=running.thinking.url, timeout=30) as server:
        messages = [{"role": "user", "content": "Think."}]
        body = {"messages": messages, "temperature": 0, "max_tokens": 40}
        expected = (await server.post("/v1/chat/completions", json=body)).json()
    turn = await running.turn("thinking/tiny", input="Think.", temperature=0, max_output_tokens=40)
    assert expected["choices"][0]["message"]["reasoning_content"]
    assert texts(turn) == [expected["choices"][0]["message"]["content"]]
    assert turn.response["usage"]["output_tokens"] == expected["usage"]["completion_tokens"] == 40


def json_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the `text` of a request whose answer has to fit a schema."""
    return {"format": {"type": "json_schema", "name": "painting", "strict": True, "schema": schema}}


@pytest.mark.parametrize("name", PROVIDERS)
async def test_json_schema(running: InferenceDeployment, name: str) -> None:
    """An answer whose schema was given is JSON that fits it."""
    turn = await running.turn(f"{name}/tiny", input="Paint it.", text=json_schema(Painting.model_json_schema()))
    assert turn.response["status"] == "completed"
    [text] = texts(turn)
    Painting.model_validate_json(text)


@pytest.mark.parametrize("schema", [{"type": "nonsense"}, {"$ref": "#/$defs/nowhere"}])
async def test_bad_schema(running: InferenceDeployment, schema: dict[str, Any]) -> None:
    """A schema that the server cannot read fails the turn, in the server's words."""
    code, message = failure(await running.turn(input="Paint it.", text=json_schema(schema)))
    assert code == "invalid_prompt"
    assert "nonsense" in message or "nowhere" in message


async def test_schema_of_a_tool(running: InferenceDeployment) -> None:
    """A tool whose schema the server cannot read fails the turn, in the server's words."""
    tool = {"type": "function", "name": "paint", "parameters": {"type": "nonsense"}}
    code, message = failure(await running.turn(input="Paint it.", tools=[tool], tool_choice="required"))
    assert code == "invalid_prompt"
    assert "nonsense" in message


async def test_fails_in_mid_answer(running: InferenceDeployment) -> None:
    """A server that has no more room for the answers at hand fails their turns, with what was said so far."""
    turns = await asyncio.gather(*(running.turn("crowded/tiny", input="Go on.") for _ in range(8)))
    failed = [turn for turn in turns if turn.response["status"] == "failed"]
    assert failed
    for turn in failed:
        assert failure(turn) == ("server_error", "Context size has been exceeded.")
        [message] = turn.response["output"]
        assert message["status"] == "incomplete"
        assert message["content"][0]["text"] == turn.text_of(message["id"]) != ""


@pytest.mark.parametrize("name", PROVIDERS)
async def test_too_long(running: InferenceDeployment, name: str) -> None:
    """A prompt that is longer than the model's context fails the turn, by the code that clients know it by."""
    code, message = failure(await running.turn(f"{name}/tiny", input="x" * SMALL))
    assert code == "context_length_exceeded"
    assert "context" in message


async def test_conversation_grows_too_long(running: InferenceDeployment, http: httpx.AsyncClient) -> None:
    """A conversation that no longer fits fails by the same code, and a new one is not affected."""
    conversation = (await http.post("/v1/conversations", json={})).json()["id"]
    for _ in range(2):
        turn = await running.turn(input="x" * (SMALL // 2), conversation=conversation, max_output_tokens=16)
    assert failure(turn)[0] == "context_length_exceeded"
    assert (await running.turn(input="x" * (SMALL // 2), max_output_tokens=16)).response["error"] is None


async def test_image(running: InferenceDeployment) -> None:
    """An image for a model that sees none fails the turn, and says that it is the image."""
    dot = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    content = [
        {"type": "input_text", "text": "What is this?"},
        {"type": "input_image", "image_url": f"data:image/png;base64,{dot}"},
    ]
    _, message = failure(await running.turn(input=[{"role": "user", "content": content}]))
    assert "image" in message


async def test_parameters_of_the_server(running: InferenceDeployment) -> None:
    """What a server takes beyond the API reaches it as it is: this one's grammar holds the model to a word."""
    turn = await running.turn("endless/tiny", input="Say it.", grammar='root ::= "yes"')
    assert texts(turn) == ["yes"]


async def test_response_format(http: httpx.AsyncClient) -> None:
    """What a chat completion calls otherwise is refused by its name, and the message says how it is called here."""
    answer = await http.post("/v1/responses", json={"model": "tiny", "input": "Go on.", "response_format": {}})
    assert answer.status_code == httpx.codes.BAD_REQUEST
    assert "text.format" in answer.json()["error"]["message"]


async def test_arguments_that_are_not_json(running: InferenceDeployment) -> None:
    """A call whose arguments are not JSON does not make a conversation unusable."""
    call = {"type": "function_call", "call_id": "call_1", "name": "paint", "arguments": "{not json"}
    result = {"type": "function_call_output", "call_id": "call_1", "output": "What?"}
    turn = await running.turn(input=[{"role": "user", "content": "Paint."}, call, result], max_output_tokens=20)
    assert turn.response["error"] is None


@pytest.mark.parametrize("name", ["endless", "endless-adapter"])
async def test_killed(running: InferenceDeployment, name: str) -> None:
    """A server that dies in mid-answer fails the turn, with what it said; once it is back the next turn runs."""
    await running.turn(f"{name}/tiny", input="Before.", max_output_tokens=16)
    transcript = Transcript()
    async for event in start(running.url, transcript, model=f"{name}/tiny", input="Go on."):
        if event["type"] == "response.output_text.delta":
            await running.endless.kill()
    after_death = await running.turn(f"{name}/tiny", input="Are you there?")
    await running.endless.start()
    after_restart = await running.turn(f"{name}/tiny", input="After.", max_output_tokens=16)
    assert tally([transcript]) == NOTHING
    expected = ("server_error", "The connection to the model's provider failed.")
    assert (failure(transcript), failure(after_death)) == (expected, expected)
    [message] = transcript.response["output"]
    assert message["status"] == "incomplete"
    assert message["content"][0]["text"] == transcript.text_of(message["id"]) != ""
    assert after_restart.response["usage"]["output_tokens"] == 16


@pytest.mark.parametrize("name", ["endless", "endless-adapter"])
async def test_hangs(running: InferenceDeployment, name: str) -> None:
    """A server that stands still fails the turn after the worker's patience; once it goes on the next turn runs."""
    transcript = Transcript()
    try:
        async with asyncio.timeout(3 * PATIENCE):
            async for event in start(running.url, transcript, model=f"{name}/tiny", input="Go on."):
                if event["type"] == "response.output_text.delta":
                    running.endless.pause()
    finally:
        running.endless.resume()
    after = await running.turn(f"{name}/tiny", input="After.", max_output_tokens=16)
    assert after.response["usage"]["output_tokens"] == 16
    assert failure(transcript) == ("server_error", "The model did not answer in time.")


async def test_cancelled(running: InferenceDeployment, http: httpx.AsyncClient) -> None:
    """A cancelled turn does not keep the server busy."""
    before = await running.endless.idle()  # another test's answer may run out yet
    transcript = Transcript()
    async for event in start(running.url, transcript, model="endless/tiny", input="Go on."):
        if event["type"] == "response.output_text.delta":
            await http.post(f"/v1/responses/{transcript.id}/cancel")
            break
    assert await running.endless.idle() - before < CONTEXT / 2
