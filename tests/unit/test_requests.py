"""What the gateway takes from a client, and what a turn keeps of it."""

from typing import Any

import pytest
from pydantic import ValidationError

from turnstream.errors import InvalidRequestError
from turnstream_gateway.limits import LIMITED, check_limits
from turnstream_gateway.requests import (
    INSTEAD,
    ITEMS_LIMIT,
    NEW_ITEMS_LIMIT,
    REFUSED,
    CountTokens,
    CreateConversation,
    CreateItems,
    CreateResponse,
    Question,
    UpdateConversation,
)
from turnstream_gateway.settings import GatewaySettings

TOOL = {"type": "function", "name": "weather"}
USER = {"role": "user", "content": "hello"}


def parsed(**body: Any) -> CreateResponse:
    """Parse a body with a model and an input."""
    return CreateResponse.model_validate({"model": "m", "input": "hello", **body})


def kept(**body: Any) -> dict[str, Any]:
    """Return what a turn keeps of such a body, besides what it keeps of every one."""
    parameters = parsed(**body).parameters()
    always = {"model": "m", "include": []}
    assert parameters.keys() >= always.keys()
    return {name: value for name, value in parameters.items() if always.get(name) != value}


def refusal(**body: Any) -> dict[str, Any]:
    """Return the first complaint about a body."""
    with pytest.raises(ValidationError) as refused:
        parsed(**body)
    return dict(refused.value.errors()[0])


def contradiction(**body: Any) -> tuple[str | None, str | None]:
    """Return the place and the code of what is refused for more than its form."""
    with pytest.raises(InvalidRequestError) as refused:
        parsed(**body)
    return refused.value.param, refused.value.code


# Input


@pytest.mark.parametrize("given", ["hello", [USER], [{"type": "message", **USER}]])
def test_text_becomes_a_message(given: Any) -> None:
    """However a client says it, a text is one user's message."""
    [item] = parsed(input=given).input or []
    assert item == (parsed().input or [])[0]


@pytest.mark.parametrize("given", [[], {}, 5, ["hello"], [{"type": "song"}], [USER] * (ITEMS_LIMIT + 1), [[USER]]])
def test_what_is_no_input(given: Any) -> None:
    """An input that the turn could not be run on as it is meant is refused, never bent."""
    assert refusal(input=given)["loc"][0] == "input"


def test_largest_input() -> None:
    """An input may have so many items."""
    assert len(parsed(input=[USER] * ITEMS_LIMIT).input or []) == ITEMS_LIMIT


@pytest.mark.parametrize("value", ["\ud800", 1 << 64])
@pytest.mark.parametrize("place", ["input", "tools", "metadata", "vendor"])
def test_what_cannot_be_kept_is_refused(place: str, value: Any) -> None:
    """JSON that cannot be written again, as half a surrogate pair or too large a number, is refused at the door."""
    part = {"type": "output_text", "text": "x", "logprobs": [{"note": value}]}
    given = {"input": [{"role": "assistant", "content": [part]}], "tools": [{**TOOL, "parameters": {"x": value}}]}
    assert contradiction(**{place: given.get(place, {"x": value})}) == (place, "invalid_value")


def test_half_a_surrogate_pair_is_no_text() -> None:
    """A text that is not Unicode is refused at the door."""
    assert contradiction(input="\ud800") == ("input", "invalid_value")


@pytest.mark.parametrize("without", [{}, {"prompt": None}, {"conversation": None}])
def test_nothing_is_asked(without: dict[str, Any]) -> None:
    """A turn needs an input, where nothing else says what is asked."""
    assert contradiction(input=None, **without) == ("input", "missing_required_parameter")


@pytest.mark.parametrize(
    "given", [{"conversation": "conv_1"}, {"previous_response_id": "resp_1"}, {"prompt": {"id": "pmpt_1"}}]
)
def test_what_is_asked_otherwise(given: dict[str, Any]) -> None:
    """A turn that has a past or a prompt needs no input."""
    assert parsed(input=None, **given).input is None


def test_model_is_required() -> None:
    """A turn needs a model."""
    with pytest.raises(ValidationError) as refused:
        CreateResponse.model_validate({"input": "hello"})
    [complaint] = refused.value.errors()
    assert (complaint["type"], complaint["loc"]) == ("missing", ("model",))


# Past


@pytest.mark.parametrize("given", ["conv_1", {"id": "conv_1"}])
def test_conversation_by_id_or_object(given: Any) -> None:
    """A conversation is named by its id, alone or in an object."""
    assert parsed(conversation=given).conversation == "conv_1"


@pytest.mark.parametrize("given", [{"id": "conv_1", "x": 1}, {}, {"id": 5}, 5, ["conv_1"], "no.dots", "x" * 65])
def test_what_names_no_conversation(given: Any) -> None:
    """Nothing else names a conversation."""
    assert refusal(conversation=given)["loc"] == ("conversation",)


def test_one_past() -> None:
    """A turn goes on from a conversation or from a response, and not from both."""
    both = {"conversation": "conv_1", "previous_response_id": "resp_1"}
    assert contradiction(**both) == ("previous_response_id", "mutually_exclusive")
    assert [parsed(**dict([past])).has_past for past in both.items()] == [True, True]
    assert not parsed().has_past


# Parameters


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


# Turnstream's own


def test_on_busy() -> None:
    """What a busy conversation means for a turn is said where there is one, and done when it is accepted."""
    for what in ("enqueue", "reject", "interrupt", "rollback"):
        body = parsed(on_busy=what, conversation="conv_1")
        assert (body.on_busy, "on_busy" in body.parameters()) == (what, False)
        assert contradiction(on_busy=what) == ("on_busy", "invalid_value")
        assert contradiction(on_busy=what, previous_response_id="resp_1") == ("on_busy", "invalid_value")
    assert refusal(on_busy="wait", conversation="conv_1")["loc"] == ("on_busy",)


def test_disconnect_grace() -> None:
    """How long a reader is waited for is said where a turn is to end with its readers."""
    given = {"on_disconnect": "cancel", "disconnect_grace": 0}
    assert kept(**given) == given
    for without in ({}, {"on_disconnect": "continue"}):
        assert contradiction(disconnect_grace=1, **without) == ("disconnect_grace", "invalid_value")
    assert refusal(**{**given, "disconnect_grace": -1})["loc"] == ("disconnect_grace",)


@pytest.mark.parametrize("stream", [False, True])
def test_background_has_no_reader(stream: bool) -> None:
    """What goes on in the background cannot end with who reads it."""
    asked = {"background": True, "stream": stream}
    assert contradiction(**asked, on_disconnect="cancel") == ("on_disconnect", "invalid_value")
    assert kept(**asked, on_disconnect="continue") == {"background": True, "on_disconnect": "continue"}


@pytest.mark.parametrize("name", LIMITED)
def test_operators_limits(name: str) -> None:
    """A request may ask for what the operator allows, and no more; the refusal says how much that is."""
    settings = GatewaySettings(nats_url="nats://nobody", postgres_dsn="postgresql://nobody")
    settings = settings.model_copy(update={f"{name}_limit": 7})
    check_limits(parsed(), settings)
    check_limits(parsed(on_disconnect="cancel", **{name: 7}), settings)
    with pytest.raises(InvalidRequestError, match="at most 7") as refused:
        check_limits(parsed(on_disconnect="cancel", **{name: 8}), settings)
    assert (refused.value.param, refused.value.code) == (name, "invalid_value")


def test_what_is_secret_is_not_kept() -> None:
    """What is for a tool's server alone is kept apart by the server's label, and nothing of it is kept otherwise."""
    server = {"type": "mcp", "server_label": "wiki", "server_url": "https://wiki.example"}
    tools = [{**server, "authorization": "hush"}, {**server, "server_label": "other"}, TOOL]
    body = parsed(tools=tools, tool_choice={"type": "mcp", "server_label": "wiki"})
    assert body.secrets == {"wiki": {"authorization": "hush"}}
    assert "hush" not in repr(body) + str(body.parameters())
    assert body.parameters()["tool_choice"] == {"type": "mcp", "server_label": "wiki"}
    assert parsed().secrets == {}


# What the API does not know


def test_what_only_the_provider_knows() -> None:
    """What the API does not know is kept apart, for the model's provider."""
    assert kept(seed=3, stop=["x"], vendor={"a": None}) == {
        "provider": {"seed": 3, "stop": ["x"], "vendor": {"a": None}}
    }
    assert kept(provider="x", prompt_items=[]) == {"provider": {"provider": "x", "prompt_items": []}}
    assert kept(vendor=None) == {}


@pytest.mark.parametrize("name", INSTEAD)
def test_name_of_chat_completions(name: str) -> None:
    """A parameter of chat completions that has another name here is refused, and the message says which."""
    with pytest.raises(InvalidRequestError, match=INSTEAD[name]) as refused:
        parsed(**{name: 1})
    assert (refused.value.param, refused.value.code) == (name, "unknown_parameter")


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_done(name: str) -> None:
    """What nothing here can do is refused, instead of being run as if it were done."""
    assert contradiction(**{name: 1}) == (name, "unsupported_parameter")


@pytest.mark.parametrize(
    "body", [{"reasoning": {"colour": 1}}, {"tools": [{**TOOL, "colour": 1}]}, {"input": [{**USER, "colour": 1}]}]
)
def test_unknown_field_inside(body: dict[str, Any]) -> None:
    """Inside of what the API knows, a field that it does not know is refused by its name, at any depth."""
    refused = refusal(**body)
    assert (refused["type"], refused["loc"][-1]) == ("extra_forbidden", "colour")


# The other bodies


def test_question() -> None:
    """To compact a conversation takes a model and what is to be compacted, and nothing of an answer."""
    body = {"model": "m", "input": "hello", "instructions": "Be brief.", "previous_response_id": "resp_1"}
    assert Question.model_validate(body).parameters() == {"model": "m"}
    with pytest.raises(ValidationError, match="temperature"):
        Question.model_validate({"model": "m", "temperature": 1})


def test_count_tokens() -> None:
    """To count tokens takes what a model reads, and nothing of an answer."""
    read = {"reasoning": {"effort": "low"}, "truncation": "auto", "parallel_tool_calls": False}
    assert CountTokens.model_validate({"model": "m", "input": "x", **read}).parameters() == {"model": "m", **read}
    with pytest.raises(ValidationError, match="max_output_tokens"):
        CountTokens.model_validate({"model": "m", "max_output_tokens": 16})


def test_conversation_body() -> None:
    """A conversation has metadata and up to 20 first items, and nothing else."""
    assert CreateConversation.model_validate({"metadata": {"a": "b"}}).metadata == {"a": "b"}
    assert CreateConversation.model_validate({"items": None}).items == []
    assert len(CreateConversation.model_validate({"items": [USER] * NEW_ITEMS_LIMIT}).items) == NEW_ITEMS_LIMIT
    for refused in ({"items": [USER] * (NEW_ITEMS_LIMIT + 1)}, {"colour": "red"}):
        with pytest.raises(ValidationError):
            CreateConversation.model_validate(refused)


@pytest.mark.parametrize("count", [1, NEW_ITEMS_LIMIT])
def test_new_items_body(count: int) -> None:
    """From 1 to 20 items are put into a conversation at a time."""
    assert len(CreateItems.model_validate({"items": [USER] * count}).items) == count


@pytest.mark.parametrize("body", [{}, {"items": []}, {"items": [USER] * (NEW_ITEMS_LIMIT + 1)}, {"items": "hello"}])
def test_what_are_no_new_items(body: dict[str, Any]) -> None:
    """No items, and too many, are refused."""
    with pytest.raises(ValidationError):
        CreateItems.model_validate(body)


def test_update_body() -> None:
    """Of a conversation, its metadata can be changed."""
    assert UpdateConversation.model_validate({"metadata": {"a": "b"}}).metadata == {"a": "b"}
    with pytest.raises(ValidationError):
        UpdateConversation.model_validate({"items": []})
