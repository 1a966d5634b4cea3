"""What a turn asks, as the request of a chat completion."""

from typing import Any

import pytest

from turnstream_worker.chat_request import chat_request

MESSAGES = [{"role": "user", "content": "hello"}]
BARE = {"model": "m", "messages": MESSAGES}


def asked(**parameters: Any) -> dict[str, Any]:
    """Return what these parameters add to a request."""
    request = chat_request({"model": "m", **parameters}, MESSAGES)
    assert {name: request.pop(name) for name in BARE} == BARE
    return request


def function(name: str = "f", **fields: Any) -> dict[str, Any]:
    """Make a function as a turn keeps it."""
    return {"type": "function", "name": name, "description": None, "parameters": None, "strict": None, **fields}


def custom(name: str = "g", **fields: Any) -> dict[str, Any]:
    """Make a custom tool as a turn keeps it."""
    return {"type": "custom", "name": name, "description": None, "format": None, **fields}


def offered(name: str = "f", **fields: Any) -> dict[str, Any]:
    """Make a function as a chat completion has it."""
    return {"type": "function", "function": {"name": name, **fields}}


def named(request: dict[str, Any]) -> list[str]:
    """Return the names of the functions that a request offers."""
    return [tool["function"]["name"] for tool in request.get("tools", [])]


TEXT_INPUT = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
    "additionalProperties": False,
}


# Parameters


def test_nothing_is_added() -> None:
    """What a client leaves out is left to the model's provider."""
    assert asked() == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 0),
        ("top_p", 0),
        ("presence_penalty", -2),
        ("frequency_penalty", 2),
        ("user", "u"),
        ("safety_identifier", "s"),
        ("prompt_cache_key", "p"),
    ],
)
def test_same_name(name: str, value: Any) -> None:
    """A parameter that chat completions take by the same name is passed on as it is, also where it is 0."""
    assert asked(**{name: value}) == {name: value}


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"max_output_tokens": 16}, {"max_tokens": 16}),
        ({"reasoning": {"effort": "low"}}, {"reasoning_effort": "low"}),
        ({"reasoning": {"effort": "none"}}, {"reasoning_effort": "none"}),
        ({"reasoning": {"summary": "auto"}}, {}),
        ({"reasoning": {}}, {}),
        ({"service_tier": "flex"}, {"service_tier": "flex"}),
        ({"service_tier": "auto"}, {}),
        ({"include": ["message.output_text.logprobs"]}, {"logprobs": True, "top_logprobs": 0}),
        ({"top_logprobs": 3}, {"logprobs": True, "top_logprobs": 3}),
        ({"top_logprobs": 0}, {}),
        ({"include": ["reasoning.encrypted_content"]}, {}),
        ({"text": {"format": {"type": "text"}}}, {}),
        ({"text": {"format": {"type": "text"}, "verbosity": "low"}}, {"verbosity": "low"}),
        ({"text": {"format": {"type": "json_object"}}}, {"response_format": {"type": "json_object"}}),
    ],
)
def test_by_another_name(parameters: dict[str, Any], expected: dict[str, Any]) -> None:
    """A parameter that chat completions call otherwise is passed on by that name; a default is left out."""
    assert asked(**parameters) == expected


@pytest.mark.parametrize(
    "parameters",
    [
        {"truncation": "auto"},
        {"store": False},
        {"metadata": {"a": "b"}},
        {"background": True},
        {"instructions": "Be brief."},
        {"prompt": {"id": "pmpt_1"}, "prompt_items": []},
        {"max_tool_calls": 1},
        {"max_infer_iters": 1},
        {"context_management": [{"type": "compaction", "compact_threshold": 1000}]},
        {"stream_options": {"include_obfuscation": False}},
    ],
)
def test_what_turnstream_does_itself(parameters: dict[str, Any]) -> None:
    """What a provider has no part in is not passed on."""
    assert asked(**parameters) == {}


@pytest.mark.parametrize("description", [None, "A city."])
def test_schema(description: str | None) -> None:
    """A schema is passed on in its envelope; a description that was not given is left out."""
    schema = {"type": "object"}
    wanted = {"type": "json_schema", "name": "city", "description": description, "schema": schema, "strict": True}
    inner = {"name": "city", "schema": schema, "strict": True} | ({"description": description} if description else {})
    assert asked(text={"format": wanted}) == {"response_format": {"type": "json_schema", "json_schema": inner}}


def test_provider_fields() -> None:
    """What the API does not know goes to the model's provider as it is."""
    assert asked(provider={"seed": 3, "stop": ["x"], "vendor": {"a": None}}) == {
        "seed": 3,
        "stop": ["x"],
        "vendor": {"a": None},
    }


def test_provider_fields_replace_nothing() -> None:
    """A field of the provider's takes no place of what a turn sets, whatever it is called."""
    parameters: dict[str, Any] = {
        "temperature": 0.5,
        "max_output_tokens": 16,
        "reasoning": {"effort": "low"},
        "service_tier": "flex",
        "top_logprobs": 3,
        "text": {"format": {"type": "json_object"}, "verbosity": "low"},
        "tools": [function()],
        "tool_choice": "required",
        "parallel_tool_calls": False,
    }
    set_by_the_turn = asked(**parameters)
    of_the_provider = dict.fromkeys([*set_by_the_turn, *BARE], "theirs")
    assert asked(provider=of_the_provider, **parameters) == set_by_the_turn


# Tools


def test_function() -> None:
    """A tool is the function that it holds; what is null is left out, which providers take for set."""
    assert asked(tools=[function()]) == {"tools": [offered()]}
    parameters = {"type": "object"}
    whole = function(description="d", parameters=parameters, strict=False)
    assert asked(tools=[whole]) == {"tools": [offered(description="d", parameters=parameters, strict=False)]}


@pytest.mark.parametrize("given", [None, {"type": "text"}])
def test_custom_tool(given: Any) -> None:
    """A tool that takes text is offered as a function of one text, which every provider knows."""
    tool = custom(description="d", format=given)
    assert asked(tools=[tool]) == {"tools": [offered("g", description="d", parameters=TEXT_INPUT)]}


def test_custom_tool_with_a_grammar() -> None:
    """A tool that takes text of a grammar is passed on as such: only the provider can hold the model to it."""
    grammar = {"syntax": "lark", "definition": "start: /a/"}
    request = asked(tools=[custom(format={"type": "grammar", **grammar})], tool_choice={"type": "custom", "name": "g"})
    inner = {"name": "g", "description": "", "format": {"type": "grammar", "grammar": grammar}}
    assert request["tools"] == [{"type": "custom", "custom": inner}]
    assert request["tool_choice"] == "required"


@pytest.mark.parametrize("choice", ["auto", "required"])
def test_mode(choice: str) -> None:
    """A mode is passed on as it is."""
    assert asked(tools=[function()], tool_choice=choice)["tool_choice"] == choice


@pytest.mark.parametrize(("kind", "name"), [("function", "f"), ("custom", "g")])
def test_named_tool(kind: str, name: str) -> None:
    """A model that is to call one tool is offered that alone, and has to call it: few servers know such a choice."""
    request = asked(tools=[function(), custom()], tool_choice={"type": kind, "name": name})
    assert request["tool_choice"] == "required"
    assert named(request) == [name]


@pytest.mark.parametrize("choice", ["none", {"type": "allowed_tools", "mode": "none", "tools": []}])
def test_no_tool(choice: Any) -> None:
    """A model that is to call no tool is offered none."""
    assert asked(tools=[function()], tool_choice=choice, parallel_tool_calls=False) == {}


@pytest.mark.parametrize("mode", ["auto", "required"])
def test_allowed_tools(mode: str) -> None:
    """A model that may call some of its tools is offered those alone."""
    allowed = [{"type": "function", "name": "b"}, {"type": "custom", "name": "g"}]
    request = asked(
        tools=[function("a"), function("b"), custom("g")],
        tool_choice={"type": "allowed_tools", "mode": mode, "tools": allowed},
    )
    assert named(request) == ["b", "g"]
    assert request["tool_choice"] == mode


@pytest.mark.parametrize("value", [True, False])
def test_parallel_calls(value: bool) -> None:
    """Whether calls may be made together is passed on with the tools, and not without: OpenAI's API refuses that."""
    assert asked(tools=[function()], parallel_tool_calls=value)["parallel_tool_calls"] == value
    assert asked(parallel_tool_calls=value) == {}
