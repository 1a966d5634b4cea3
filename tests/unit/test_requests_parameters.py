"""The parameters that a turn keeps, and the values that they take."""

from typing import Any

import pytest
from support.request_bodies import TOOL, USER, contradiction, kept, parsed, refusal

from turnstream_gateway.requests import ITEMS_LIMIT

# Every parameter that a turn keeps as it is: values at its bounds, and values beyond them.
PARAMETERS: dict[str, tuple[list[Any], list[Any]]] = {
    "temperature": ([0, 0.5, 2], [-0.1, 2.1, "warm"]),
    "top_p": ([0, 1], [-0.1, 1.1]),
    "presence_penalty": ([-2, 0, 2], [-2.1, 2.1]),
    "frequency_penalty": ([-2, 0, 2], [-2.1, 2.1]),
    "top_logprobs": ([0, 20], [-1, 21, 1.5]),
    "max_output_tokens": ([16, 1 << 40], [0, 15, 16.5]),
    "max_tool_calls": ([1, 1000], [0, -1]),
    "max_infer_iters": ([1, 10], [0]),
    "max_attempts": ([1, 1000], [0, 1.5]),
    "deadline": ([1, 0.5, 1e9], [0, -1, "soon"]),
    "grace": ([0, 0.5], [-1]),
    "on_disconnect": (["continue", "cancel"], ["pause"]),
    "parallel_tool_calls": ([True, False], ["perhaps"]),
    "truncation": (["auto", "disabled"], ["middle"]),
    "service_tier": (["auto", "default", "flex", "scale", "priority"], ["free"]),
    "store": ([True, False], ["perhaps"]),
    "background": ([True, False], ["perhaps"]),
    "user": (["u" * 256], ["u" * 257, 5]),
    "safety_identifier": (["s" * 64], ["s" * 65]),
    "prompt_cache_key": (["p" * 64], ["p" * 65]),
    "metadata": ([{}, {"k": "v"}], [{"k": 1}, {"k": "v" * 513}, {str(n): "" for n in range(17)}]),
    "include": ([["reasoning.encrypted_content"]], [["colour"], "reasoning.encrypted_content"]),
    "reasoning": (
        [{}, {"effort": "none"}, {"effort": "xhigh", "summary": "detailed"}, {"summary": "auto"}],
        [{"effort": "huge"}, {"summary": "long"}, {"colour": "red"}, "low"],
    ),
    "tool_choice": (["none", "auto"], ["perhaps", {"type": "function"}]),
    "context_management": (
        [[], [{"type": "compaction", "compact_threshold": 1000}]],
        [
            [{"type": "compaction", "compact_threshold": 999}],
            [{"type": "compaction"}],
            [{"type": "song", "compact_threshold": 1000}],
            [{"type": "compaction", "compact_threshold": 1000}] * 2,
        ],
    ),
}
INSIDE = [(name, value) for name, (inside, _) in PARAMETERS.items() for value in inside]
OUTSIDE = [(name, value) for name, (_, outside) in PARAMETERS.items() for value in outside]


@pytest.mark.parametrize(("name", "value"), INSIDE)
def test_parameter_is_kept(name: str, value: Any) -> None:
    """A parameter within its bounds is kept as it was given."""
    assert kept(**{name: value}) == {name: value}


@pytest.mark.parametrize(("name", "value"), OUTSIDE)
def test_parameter_out_of_bounds_is_refused(name: str, value: Any) -> None:
    """A value that is out of its bounds is refused at its place."""
    assert refusal(**{name: value})["loc"][0] == name


@pytest.mark.parametrize("name", PARAMETERS)
def test_null_is_nothing(name: str) -> None:
    """A parameter that is null is one that was left out."""
    assert kept(**{name: None}) == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model", ""),
        ("model", "m" * 257),
        ("instructions", 5),
        ("instructions", []),
        ("instructions", [{"role": "user"}]),
        ("instructions", [USER] * (ITEMS_LIMIT + 1)),
        ("previous_response_id", "no.dots"),
        ("stream", "perhaps"),
        ("stream_options", {"include_usage": True}),
        ("prompt", {}),
        ("prompt", {"id": "no.dots"}),
        ("prompt", "pmpt_1"),
        ("tools", [{"type": "code_interpreter"}]),
        ("text", {"format": {"type": "xml"}}),
        ("text", {"format": {"type": "json_schema", "name": "x"}}),
        ("text", {"format": {"type": "json_schema", "schema": {}}}),
        ("text", {"format": {"type": "json_schema", "name": "no blanks", "schema": {}}}),
        ("text", {"verbosity": "huge"}),
        ("text", {"colour": "red"}),
    ],
)
def test_value_is_refused(name: str, value: Any) -> None:
    """A value that is not what a parameter takes is refused at its place."""
    assert refusal(**{name: value})["loc"][0] == name


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"format": {"type": "text"}}),
        ({"verbosity": "low"}, {"format": {"type": "text"}, "verbosity": "low"}),
        ({"format": {"type": "text"}}, {"format": {"type": "text"}}),
        ({"format": {"type": "json_object"}, "verbosity": None}, {"format": {"type": "json_object"}}),
        (
            {"format": {"type": "json_schema", "name": "x", "schema": {"type": "object", "default": None}}},
            {
                "format": {
                    "type": "json_schema",
                    "name": "x",
                    "schema": {"type": "object", "default": None},
                    "description": None,
                    "strict": False,
                }
            },
        ),
    ],
)
def test_form_of_the_text(given: dict[str, Any], expected: dict[str, Any]) -> None:
    """The form of the text is kept whole, as a response has to show it, and a schema as it was given."""
    assert kept(text=given) == {"text": expected}


def test_tools_are_kept_whole() -> None:
    """A tool is kept with all of its fields, those that were left out as null, as a response has to show them."""
    choice = {"type": "function", "name": "weather"}
    assert kept(tools=[TOOL], tool_choice=choice) == {
        "tools": [{**TOOL, "description": None, "parameters": None, "strict": None}],
        "tool_choice": choice,
    }
    assert kept(tools=[]) == {}


def test_choice_of_what_is_not_there() -> None:
    """A choice that is not among the tools is refused."""
    assert contradiction(tool_choice="required") == ("tool_choice", "invalid_value")
    assert contradiction(tools=[TOOL, TOOL]) == ("tools", "invalid_value")


def test_what_stands_elsewhere() -> None:
    """What a turn has besides its parameters, or is said of the delivery alone, is not kept among them."""
    assert kept(instructions="Be brief.", conversation="conv_1", stream=True, input=[USER]) == {}
    assert kept(previous_response_id="resp_1", prompt={"id": "pmpt_1"}) == {}


def test_stream_options() -> None:
    """Whether deltas are filled up is kept, and said of streams only."""
    assert kept(stream=True, stream_options={"include_obfuscation": False}) == {
        "stream_options": {"include_obfuscation": False}
    }
    for stream in (None, False):
        assert contradiction(stream=stream, stream_options={}) == ("stream_options", "invalid_value")


def test_background_is_stored() -> None:
    """A background response that is not stored could never be read."""
    assert contradiction(background=True, store=False) == ("store", "invalid_value")
    assert kept(background=False, store=False) == {"background": False, "store": False}


def test_what_is_secret_is_not_kept() -> None:
    """What is for a tool's server alone is kept apart by the server's label, and nothing of it is kept otherwise."""
    server = {"type": "mcp", "server_label": "wiki", "server_url": "https://wiki.example"}
    tools = [{**server, "authorization": "hush"}, {**server, "server_label": "other"}, TOOL]
    body = parsed(tools=tools, tool_choice={"type": "mcp", "server_label": "wiki"})
    assert body.secrets == {"wiki": {"authorization": "hush"}}
    assert "hush" not in repr(body) + str(body.parameters())
    assert body.parameters()["tool_choice"] == {"type": "mcp", "server_label": "wiki"}
    assert parsed().secrets == {}
