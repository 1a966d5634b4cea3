"""What a client asks a turn: its input, and the past that it goes on from."""

from typing import Any

import pytest
from pydantic import ValidationError
from support.request_bodies import TOOL, USER, contradiction, parsed, refusal

from turnstream_gateway.requests import ITEMS_LIMIT, CreateResponse


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
