"""What the API does not know: it is the provider's, or refused."""

from typing import Any

import pytest
from support.request_bodies import TOOL, USER, contradiction, kept, parsed, refusal

from turnstream.errors import InvalidRequestError
from turnstream_gateway.requests import INSTEAD, REFUSED


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
