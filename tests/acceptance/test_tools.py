"""Tools that the client runs itself, through the openai SDK: functions and custom tools, and the choice among them."""

import json
from typing import Any

import openai
import pytest
from openai.types.responses import ResponseStreamEvent
from pydantic import BaseModel
from support.deployment import Deployment

AS_EVER: dict[str, Any] = {}  # a scripted reply that is what the model says anyway


class Weather(BaseModel):
    """Tells the weather of a city."""

    city: str
    days: int


def function(name: str, **fields: Any) -> dict[str, Any]:
    """Make a function tool."""
    return {"type": "function", "name": name, **fields}


def custom(name: str, **fields: Any) -> dict[str, Any]:
    """Make a custom tool."""
    return {"type": "custom", "name": name, **fields}


def calls(*names: str) -> dict[str, Any]:
    """Make a scripted reply that calls functions, each with its own name as an argument."""
    return {"tool_calls": [{"name": name, "arguments": {"input": f"for {name}"}} for name in names]}


async def names_of(deployment: Deployment, text: str) -> list[str]:
    """Return the names of the tools that the model was offered with a text."""
    [request] = await deployment.model_requests(text)
    return [tool["function"]["name"] for tool in request.get("tools", ())]


# Functions


async def test_pydantic_function(client: openai.AsyncOpenAI, deployment: Deployment) -> None:
    """A function that is made of a pydantic model is called with arguments that parse as that model."""
    tool = openai.pydantic_function_tool(Weather)["function"]
    flat: Any = {"type": "function", **tool}
    response = await client.responses.parse(model="stand-in", input="weather in Paris, 3", tools=[flat])
    [call] = response.output
    assert call.type == "function_call"
    assert Weather.model_validate_json(call.arguments).days == 3
    [request] = await deployment.model_requests("weather in Paris, 3")
    assert request["tools"] == [{"type": "function", "function": tool}]
    [shown] = response.tools
    assert shown.to_dict() == flat


async def test_parsed_arguments(client: openai.AsyncOpenAI) -> None:
    """The SDK parses a strict function's arguments itself, whole and streamed."""
    tool: Any = openai.pydantic_function_tool(Weather)
    async with client.responses.stream(model="stand-in", input="weather in Rome, 2", tools=[tool]) as stream:
        async for _ in stream:
            pass
        [call] = (await stream.get_final_response()).output
    assert call.type == "function_call"
    assert isinstance(call.parsed_arguments, Weather)
    assert call.parsed_arguments.days == 2


async def test_events_of_a_call(client: openai.AsyncOpenAI, deployment: Deployment) -> None:
    """A call is an item whose arguments come in events of their own and stand whole in the item when it is done."""
    await deployment.script("say and call", {"text": "One moment.", **calls("look")})
    tools: Any = [function("look")]
    stream = await client.responses.create(model="stand-in", input="say and call", tools=tools, stream=True)
    events = [event async for event in stream]
    about_call = [event for event in events if getattr(event, "output_index", None) == 1]
    assert [event.type for event in about_call] == [
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
    ]
    added, delta, done, whole = (event.model_dump() for event in about_call)
    assert (added["item"]["arguments"], added["item"]["status"]) == ("", "in_progress")
    assert json.loads(delta["delta"]) == {"input": "for look"}
    assert delta["delta"] == done["arguments"] == whole["item"]["arguments"]
    assert whole["item"]["status"] == "completed"
    last = events[-1]
    assert last.type == "response.completed"
    assert [item.type for item in last.response.output] == ["message", "function_call"]
    assert last.response.output[1].model_dump() == whole["item"]


async def test_function_as_it_was_given(client: openai.AsyncOpenAI, deployment: Deployment) -> None:
    """A function reaches the model with what the client said of it, and is shown with the fields it left out."""
    tools: Any = [function("bare"), function("full", description="d", parameters={"type": "object"}, strict=True)]
    response = await client.responses.create(model="stand-in", input="given tools", tools=tools, tool_choice="none")
    assert [tool.to_dict() for tool in response.tools] == [
        {**tools[0], "description": None, "parameters": None, "strict": None},
        tools[1],
    ]
    assert await names_of(deployment, "given tools") == []
    await client.responses.create(model="stand-in", input="tools given", tools=tools)
    [request] = await deployment.model_requests("tools given")
    full = {"name": "full", "description": "d", "parameters": {"type": "object"}, "strict": True}
    assert [tool["function"] for tool in request["tools"]] == [{"name": "bare"}, full]


async def test_many_tools(client: openai.AsyncOpenAI, deployment: Deployment) -> None:
    """As many tools as the specification allows reach the model."""
    tools: Any = [function(f"tool_{n}") for n in range(128)]
    response = await client.responses.create(model="stand-in", input="call tool_77 please", tools=tools)
    assert len(await names_of(deployment, "call tool_77 please")) == len(response.tools) == 128


# Custom tools


async def test_custom_tool(client: openai.AsyncOpenAI, deployment: Deployment) -> None:
    """A custom tool takes text: the model sees a function of one, and the client gets the text alone."""
    await deployment.script("write a note", calls("note"))
    tools: Any = [custom("note", description="Takes a note.", format={"type": "text"})]
    stream = await client.responses.create(model="stand-in", input="write a note", tools=tools, stream=True)
    events = [event async for event in stream]
    assert [event.type for event in events[2:-1]] == [
        "response.output_item.added",
        "response.custom_tool_call_input.delta",
        "response.custom_tool_call_input.done",
        "response.output_item.done",
    ]
    last = events[-1]
    assert last.type == "response.completed"
    [call] = last.response.output
    assert call.type == "custom_tool_call"
    assert (call.name, call.input) == ("note", "for note")
    assert [tool.to_dict() for tool in last.response.tools] == tools
    [request] = await deployment.model_requests("write a note")
    [offered] = request["tools"]
    assert (offered["function"]["name"], offered["function"]["description"]) == ("note", "Takes a note.")
    assert offered["function"]["parameters"]["required"] == ["input"]


async def test_custom_tool_round_trip(client: openai.AsyncOpenAI, deployment: Deployment) -> None:
    """What a custom tool returned reaches the model with the call, by the stored response or with all sent back."""
    tools: Any = [custom("note")]
    await deployment.script("note it", calls("note"), AS_EVER)
    asked = await client.responses.create(model="stand-in", input="note it", tools=tools)
    [call] = asked.output
    assert call.type == "custom_tool_call"
    output: Any = {"type": "custom_tool_call_output", "call_id": call.call_id, "output": "noted"}
    by_id = await client.responses.create(model="stand-in", previous_response_id=asked.id, input=[output], tools=tools)
    sent_back: Any = [{"role": "user", "content": "note it"}, call.model_dump(), output]
    by_hand = await client.responses.create(model="stand-in", input=sent_back, tools=tools)
    assert by_id.output_text == by_hand.output_text
    assert "noted" in by_id.output_text
    for request in (await deployment.model_requests("note it"))[1:]:
        assistant, tool = request["messages"][1:]
        [said] = assistant["tool_calls"]
        assert said["function"] == {"name": "note", "arguments": '{"input":"for note"}'}
        assert tool == {"role": "tool", "tool_call_id": call.call_id, "content": "noted"}


# The choice


@pytest.mark.parametrize(
    ("choice", "offered", "reaches"),
    [
        ("auto", ["a", "b", "c"], "auto"),
        ("required", ["a", "b", "c"], "required"),
        ("none", [], None),
        ({"type": "function", "name": "b"}, ["b"], "required"),
        ({"type": "custom", "name": "c"}, ["c"], "required"),
        (
            {"type": "allowed_tools", "mode": "auto", "tools": [function("a"), custom("c")]},
            ["a", "c"],
            "auto",
        ),
        ({"type": "allowed_tools", "mode": "required", "tools": [function("b")]}, ["b"], "required"),
        ({"type": "allowed_tools", "mode": "none", "tools": [function("b")]}, [], None),
    ],
)
async def test_choice(
    client: openai.AsyncOpenAI, deployment: Deployment, choice: Any, offered: list[str], reaches: Any
) -> None:
    """The choice reaches the model in the terms of chat completions: it is offered no tool that it may not call."""
    text = f"choose {json.dumps(choice)}"
    tools: Any = [function("a"), function("b"), custom("c")]
    response = await client.responses.create(model="stand-in", input=text, tools=tools, tool_choice=choice)
    assert await names_of(deployment, text) == offered
    [request] = await deployment.model_requests(text)
    assert request.get("tool_choice") == reaches
    assert response.to_dict(warnings=False)["tool_choice"] == choice
    assert len(response.tools) == 3


@pytest.mark.parametrize(
    "choice",
    [
        "sometimes",
        {"type": "function", "name": "b"},
        {"type": "custom", "name": "a"},
        {"type": "file_search"},
        {"type": "allowed_tools", "mode": "auto", "tools": []},
        {"type": "allowed_tools", "mode": "auto", "tools": [function("b")]},
    ],
)
async def test_no_such_choice(client: openai.AsyncOpenAI, choice: Any) -> None:
    """A choice of what is not offered is refused."""
    tools: Any = [function("a")]
    with pytest.raises(openai.BadRequestError) as refused:
        await client.responses.create(model="stand-in", input="choose", tools=tools, tool_choice=choice)
    assert str(refused.value.param).startswith("tool_choice")


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        ({}, ["a", "b", "a"]),
        ({"parallel_tool_calls": True}, ["a", "b", "a"]),
        ({"parallel_tool_calls": False}, ["a"]),
        ({"max_tool_calls": 2}, ["a", "b"]),
        ({"max_tool_calls": 5}, ["a", "b", "a"]),
    ],
)
async def test_how_many_calls(
    client: openai.AsyncOpenAI, deployment: Deployment, asked: dict[str, Any], kept: list[str]
) -> None:
    """A client gets no more calls at a time than it said that it takes, whatever the model does."""
    await deployment.script("call thrice", calls("a", "b", "a"))
    tools: Any = [function("a"), function("b")]
    response = await client.responses.create(model="stand-in", input="call thrice", tools=tools, **asked)
    assert [call.name for call in response.output if call.type == "function_call"] == kept


async def test_calls_in_order(client: openai.AsyncOpenAI, deployment: Deployment) -> None:
    """Calls that were made together are answered together, text and parts of text alike."""
    await deployment.script("call both", calls("a", "b"), AS_EVER)
    tools: Any = [function("a"), function("b")]
    stream = await client.responses.create(model="stand-in", input="call both", tools=tools, stream=True)
    events: list[ResponseStreamEvent] = [event async for event in stream]
    last = events[-1]
    assert last.type == "response.completed"
    first, second = [call for call in last.response.output if call.type == "function_call"]
    outputs: Any = [
        {"type": "function_call_output", "call_id": second.call_id, "output": "of b"},
        {
            "type": "function_call_output",
            "call_id": first.call_id,
            "output": [{"type": "input_text", "text": "of "}, {"type": "input_text", "text": "a"}],
        },
    ]
    answer = await client.responses.create(model="stand-in", previous_response_id=last.response.id, input=outputs)
    assert "of b; of a" in answer.output_text
    [_, request] = await deployment.model_requests("call both")
    [assistant] = [message for message in request["messages"] if message["role"] == "assistant"]
    assert [call["id"] for call in assistant["tool_calls"]] == [first.call_id, second.call_id]
