"""Which tools the stand-in model calls, and how it fills schemas."""

import json
from typing import Any

import httpx
import pytest
from support.stand_in import choice, say, tool, user

from turnstream_local.stand_in.schema import fill

WEATHER = {
    "type": "object",
    "properties": {
        "place": {"type": "string"},
        "unit": {"enum": ["celsius", "fahrenheit"]},
        "days": {"type": "integer"},
        "note": {"type": "string"},
    },
    "required": ["place", "unit", "days"],
}


async def test_tool_is_called_with_fitting_arguments(client: httpx.AsyncClient) -> None:
    """A user's message calls the tool; required arguments have their types and come from the text."""
    made = await choice(client, user("Rain in 3 days?"), tools=[tool("weather", WEATHER)])
    call = made["message"]["tool_calls"][0]["function"]
    assert made["finish_reason"] == "tool_calls"
    assert call["name"] == "weather"
    assert json.loads(call["arguments"]) == {"place": "Rain in 3 days?", "unit": "celsius", "days": 3}


@pytest.mark.parametrize(
    ("text", "tool_choice", "called"),
    [
        ("anything", "auto", "first"),
        ("use second now", None, "second"),
        ("use second now", {"type": "function", "function": {"name": "first"}}, "first"),
    ],
)
async def test_tool_is_chosen(client: httpx.AsyncClient, text: str, tool_choice: Any, called: str) -> None:
    """The tool is the one chosen by the request, else the one named in the text, else the first."""
    made = await choice(client, user(text), tools=[tool("first"), tool("second")], tool_choice=tool_choice)
    assert made["message"]["tool_calls"][0]["function"]["name"] == called


async def test_no_tool_is_called_when_forbidden(client: httpx.AsyncClient) -> None:
    """With tool choice `none` the answer is a text."""
    assert '"Hi"' in await say(client, user("Hi"), tools=[tool("first")], tool_choice="none")


async def test_directive_sets_the_calls_in_a_row(client: httpx.AsyncClient) -> None:
    """A directive says how often a tool is called for a message; by the results that stand behind it, it is known."""
    told: dict[str, Any] = {"role": "tool", "tool_call_id": "c", "content": "done"}
    messages: list[dict[str, Any]] = [user("[stand-in calls=2] Go")]
    reasons = []
    for _ in range(3):
        body = {"model": "stand-in", "messages": messages, "tools": [tool("look")]}
        [choice] = (await client.post("/v1/chat/completions", json=body)).json()["choices"]
        reasons.append(choice["finish_reason"])
        messages = [*messages, choice["message"], told]
    assert reasons == ["tool_calls", "tool_calls", "stop"]


async def test_tool_results_are_quoted(client: httpx.AsyncClient) -> None:
    """Behind tool results the answer is a text that quotes all of them."""
    results = [{"role": "tool", "tool_call_id": f"c{n}", "content": f"result {n}"} for n in (1, 2)]
    said = await say(client, user("Hi"), {"role": "assistant", "content": None}, *results, tools=[tool("t")])
    assert "result 1" in said
    assert "result 2" in said


async def test_json_answer_fits_the_schema(client: httpx.AsyncClient) -> None:
    """A response format is answered with JSON that fits it."""
    schema = {"type": "json_schema", "json_schema": {"name": "weather", "schema": WEATHER}}
    assert json.loads(await say(client, user("7 days"), response_format=schema))["days"] == 7
    assert isinstance(json.loads(await say(client, user("Hi"), response_format={"type": "json_object"})), dict)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": ["null", "number"], "exclusiveMaximum": 4}, 3.5),
        ({"type": "integer", "minimum": 10}, 10),
        ({"type": "string", "maxLength": 4}, "take"),
        ({"anyOf": [{"type": "null"}, {"const": "x"}]}, "x"),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 3}, [4, 5, 5]),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "boolean"}}}, False),
        ({"allOf": [{"required": ["a"], "properties": {"a": {"type": "integer"}}}], "type": "object"}, {"a": 4}),
        ({"type": "string", "format": "date"}, "2025-01-01"),
    ],
)
def test_schema_is_filled(schema: dict[str, Any], value: Any) -> None:
    """Each kind of schema has its smallest value, with the text's numbers in turn."""
    assert fill(schema, "take 4 and 5") == value


def test_endless_schema_comes_to_an_end() -> None:
    """A schema that holds itself is filled to a depth."""
    assert fill({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}, "x")["a"]["a"]
