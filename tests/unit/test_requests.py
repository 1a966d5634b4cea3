"""What the gateway takes from a client, and the canonical form in which it is kept."""

from typing import Any

import pytest
from pydantic import ValidationError

from turnstream_gateway.requests import ITEMS_LIMIT, TOOLS_LIMIT, CreateConversation, CreateResponse

TEXT = {"type": "input_text", "text": "hello"}
TOOL = {"type": "function", "name": "weather"}


def parsed(**body: Any) -> CreateResponse:
    """Parse a body with a model and an input."""
    return CreateResponse.model_validate({"model": "m", "input": "hello", **body})


def items(given: Any) -> list[dict[str, Any]]:
    """Return the canonical items of an input, without their new ids."""
    canonical = parsed(input=given).items()
    return [{key: value for key, value in item.items() if key != "id"} for item in canonical]


def message(role: str = "user", content: Any = (TEXT,), status: str = "completed") -> dict[str, Any]:
    """Make a canonical message, without its id."""
    return {"type": "message", "status": status, "role": role, "content": list(content)}


def refusal(**body: Any) -> dict[str, Any]:
    """Return the first complaint about a body."""
    with pytest.raises(ValidationError) as refused:
        parsed(**body)
    return dict(refused.value.errors()[0])


# Items


@pytest.mark.parametrize(
    "given",
    [
        "hello",
        [{"role": "user", "content": "hello"}],
        [{"type": "message", "role": "user", "content": [TEXT]}],
        [{"id": "msg_theirs", "role": "user", "content": [{"type": "text", "text": "hello"}]}],
    ],
)
def test_text_becomes_a_message(given: Any) -> None:
    """However a client says it, a text is one user's message with one part."""
    assert items(given) == [message()]


@pytest.mark.parametrize("role", ["user", "system", "developer"])
def test_input_text(role: str) -> None:
    """What is not the assistant's is input text, with nothing else in its parts."""
    part = {"type": "output_text", "text": "hello", "annotations": [], "logprobs": []}
    assert items([{"role": role, "content": [part]}]) == [message(role)]


def test_output_text() -> None:
    """What the assistant said is output text, with the lists that the specification requires."""
    expected = [{"type": "output_text", "text": "hello", "annotations": [], "logprobs": []}]
    assert items([{"role": "assistant", "content": "hello"}]) == [message("assistant", expected)]
    noted = [{"type": "output_text", "text": "hello", "annotations": [{"type": "x"}]}]
    [kept] = items([{"role": "assistant", "content": noted, "status": "incomplete"}])
    assert (kept["content"][0]["annotations"], kept["status"]) == ([{"type": "x"}], "incomplete")


def test_output_can_be_sent_back() -> None:
    """The items of an output are taken as an input as they are: a client may keep the conversation itself."""
    part = {"type": "output_text", "text": "hi", "annotations": [], "logprobs": []}
    call = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}", "status": "completed"}
    given = [{**message("assistant", [part]), "id": "msg_1"}, {**call, "id": "fc_1"}]
    assert items(given) == [message("assistant", [part]), call]


def test_function_call_output() -> None:
    """A function's output is text or parts of text."""
    output = {"type": "function_call_output", "call_id": "call_1", "output": "sunny"}
    assert items([output]) == [{**output, "status": "completed"}]
    [kept] = items([{**output, "output": [TEXT]}])
    assert kept["output"] == [TEXT]


def test_items_get_ids_of_their_own() -> None:
    """Every item gets a new id with its kind's prefix, so that no two items of a conversation share one."""
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "c", "output": ""}
    given = [{"id": "msg_same", "role": "user", "content": "a"}] * 2 + [{"id": "msg_same", **call}, output]
    ids = [item["id"] for item in parsed(input=given).items()]
    assert len(set(ids)) == 4
    assert [made.partition("_")[0] for made in ids] == ["msg", "msg", "fc", "fco"]


@pytest.mark.parametrize(
    "given",
    [
        [],
        None,
        {},
        [{"role": "nobody", "content": "x"}],
        [{"role": "user"}],
        [{"role": "user", "content": [{"type": "input_image", "image_url": "http://x"}]}],
        [{"type": "reasoning", "summary": []}],
        [{"type": 5}],
        ["hello"],
        [{"type": "function_call", "call_id": "", "name": "f", "arguments": ""}],
        [{"type": "function_call", "call_id": "c", "name": "no blanks", "arguments": ""}],
        [{"type": "function_call_output", "call_id": "c"}],
        [{"role": "user", "content": "x"}] * (ITEMS_LIMIT + 1),
    ],
)
def test_what_is_no_input(given: Any) -> None:
    """An input that the turn could not be run on as it is meant is refused, never bent."""
    assert refusal(input=given)["loc"][0] == "input"


@pytest.mark.parametrize("value", ["\ud800", 1 << 64])
@pytest.mark.parametrize("place", ["input", "tools"])
def test_what_cannot_be_kept_is_refused(place: str, value: Any) -> None:
    """JSON that cannot be written again, as half a surrogate pair or too large a number, is refused at the door."""
    note = {"type": "output_text", "text": "x", "annotations": [{"note": value}]}
    given = {"input": [{"role": "assistant", "content": [note]}], "tools": [{**TOOL, "parameters": {"x": value}}]}
    assert refusal(**{place: given[place]})["loc"][0] == place


def test_half_a_surrogate_pair_is_no_text() -> None:
    """A text that is not Unicode is refused at the door."""
    assert refusal(input="\ud800")["loc"][0] == "input"


# Fields


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"frobnicate": 1}, "frobnicate"),
        ({"input": [{"role": "user", "content": "x", "colour": "red"}]}, "colour"),
        ({"input": [{"role": "user", "content": [{**TEXT, "colour": "red"}]}]}, "colour"),
        ({"tools": [{**TOOL, "colour": "red"}]}, "colour"),
    ],
)
def test_unknown_field_is_refused(body: dict[str, Any], place: str) -> None:
    """A field that is not known is refused by its name, at any depth: nothing that a client asks for is dropped."""
    refused = refusal(**body)
    assert (refused["type"], refused["loc"][-1]) == ("extra_forbidden", place)


@pytest.mark.parametrize("given", ["conv_1", {"id": "conv_1"}])
def test_conversation_by_id_or_object(given: Any) -> None:
    """A conversation is named by its id, alone or in an object."""
    assert parsed(conversation=given).conversation == "conv_1"


@pytest.mark.parametrize("given", [{"id": "conv_1", "x": 1}, {}, {"id": 5}, 5, ["conv_1"]])
def test_what_names_no_conversation(given: Any) -> None:
    """Nothing else names a conversation."""
    assert refusal(conversation=given)["loc"] == ("conversation",)


@pytest.mark.parametrize(
    "body",
    [
        {"model": ""},
        {"model": "m" * 257},
        {"temperature": 2.1},
        {"top_p": -0.1},
        {"max_output_tokens": 0},
        {"store": False},
        {"metadata": {"k": "v" * 513}},
        {"metadata": {str(n): "" for n in range(17)}},
        {"metadata": {"k": 1}},
        {"tools": [TOOL] * (TOOLS_LIMIT + 1)},
        {"tools": [{"type": "web_search"}]},
        {"tools": [{"type": "function", "name": "no.dots"}]},
        {"tool_choice": "perhaps"},
        {"tool_choice": {"type": "function"}},
    ],
)
def test_value_out_of_bounds_is_refused(body: dict[str, Any]) -> None:
    """A value that is out of its bounds is refused at its place."""
    assert refusal(**body)["loc"][0] == next(iter(body))


@pytest.mark.parametrize("missing", ["model", "input"])
def test_required_fields(missing: str) -> None:
    """A turn needs a model and an input."""
    body = {"model": "m", "input": "hello"}
    del body[missing]
    with pytest.raises(ValidationError) as refused:
        CreateResponse.model_validate(body)
    [complaint] = refused.value.errors()
    assert (complaint["type"], complaint["loc"]) == ("missing", (missing,))


def test_parameters_are_what_was_set() -> None:
    """A turn keeps the parameters that were set, but for what stands elsewhere or says how to deliver."""
    body = parsed(
        temperature=0,
        metadata={},
        instructions=None,
        conversation="conv_1",
        stream=True,
        store=True,
        tool_choice="auto",
    )
    assert body.parameters() == {"model": "m", "temperature": 0, "metadata": {}, "store": True, "tool_choice": "auto"}


def test_tools_are_kept_whole() -> None:
    """A tool is kept with all of its fields, those that were left out as null, as a response has to show them."""
    choice = {"type": "function", "name": "weather"}
    kept = parsed(tools=[TOOL], tool_choice=choice).parameters()
    assert kept["tools"] == [{**TOOL, "description": None, "parameters": None, "strict": None}]
    assert kept["tool_choice"] == choice


def test_conversation_body() -> None:
    """A conversation has metadata and up to 20 first items, and nothing else."""
    assert CreateConversation.model_validate({"metadata": {"a": "b"}}).metadata == {"a": "b"}
    item = {"role": "user", "content": "hi"}
    assert len(CreateConversation.model_validate({"items": [item] * 20}).items or []) == 20
    for refused in ({"items": [item] * 21}, {"colour": "red"}):
        with pytest.raises(ValidationError):
            CreateConversation.model_validate(refused)
