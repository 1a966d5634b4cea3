"""What every body has in common: known fields, and values that can be stored as JSON again."""

from typing import Any

import pytest
from pydantic import ValidationError

from turnstream.errors import InvalidRequestError
from turnstream_gateway.bodies import DEPTH_LIMIT, Body, Metadata, Name


class Example(Body):
    """A body."""

    value: Any = None
    name: Name | None = None
    metadata: Metadata | None = None


def nested(levels: int, *, within: type = list) -> Any:
    """Make a value of so many lists or objects in each other."""
    value: Any = "x"
    for _ in range(levels):
        value = [value] if within is list else {"a": value}
    return value


def refusal(body: Any) -> InvalidRequestError:
    """Return how a body that cannot be stored is refused."""
    with pytest.raises(InvalidRequestError) as refused:
        Example.model_validate(body)
    assert refused.value.code == "invalid_value"
    return refused.value


@pytest.mark.parametrize("value", ["\ud800", 1 << 64, -(1 << 64), ["a", {"b": "\udfff"}], {"\ud800": 1}])
def test_what_json_cannot_carry(value: Any) -> None:
    """Half a surrogate pair and too large a number are refused by the field's name, before anything is stored."""
    refused = refusal({"value": value})
    assert refused.param == "value"
    assert "JSON cannot carry" in refused.message


def test_name_that_json_cannot_carry() -> None:
    """A field whose name is no text is refused by what can be shown of it."""
    assert refusal({"a\ud800": 1}).param == "a?"


@pytest.mark.parametrize("within", [list, dict])
@pytest.mark.parametrize("levels", [DEPTH_LIMIT + 1, 300, 100_000])
def test_nesting_is_bounded(levels: int, within: type) -> None:
    """A value that is nested too deeply is refused for that, however deep it is."""
    assert "levels deep" in refusal({"value": nested(levels, within=within)}).message
    deepest = nested(DEPTH_LIMIT, within=within)
    assert Example.model_validate({"value": deepest}).value == deepest


@pytest.mark.parametrize("body", [None, [], "x", 5])
def test_what_is_no_body(body: Any) -> None:
    """A body is an object."""
    with pytest.raises(ValidationError):
        Example.model_validate(body)


def test_null_is_left_out() -> None:
    """A null stands for a field that was left out, and a null inside of a value stays."""
    assert Example.model_validate({"value": None}).model_fields_set == set()
    assert Example.model_validate({"value": {"a": None}}).value == {"a": None}


def test_unknown_field() -> None:
    """A field that is not known is refused."""
    with pytest.raises(ValidationError, match="colour"):
        Example.model_validate({"colour": "red"})


@pytest.mark.parametrize("name", ["f", "get_weather", "a-B-9", "x" * 64])
def test_name(name: str) -> None:
    """A name has letters, digits, underscores and dashes."""
    assert Example(name=name).name == name


@pytest.mark.parametrize("name", ["", "no blanks", "no.dots", "ä", "f\n", "x" * 65])
def test_what_is_no_name(name: str) -> None:
    """Nothing else is a name: providers refuse it."""
    with pytest.raises(ValidationError):
        Example(name=name)


def test_metadata() -> None:
    """Metadata has up to 16 texts of 512 characters, by names of 64."""
    largest = {f"{number:064}": "x" * 512 for number in range(16)}
    assert Example(metadata=largest).metadata == largest


@pytest.mark.parametrize(
    "metadata", [{"k": 1}, {"k": "x" * 513}, {"k" * 65: ""}, {str(number): "" for number in range(17)}, [], "x"]
)
def test_what_is_no_metadata(metadata: Any) -> None:
    """Metadata out of these bounds is refused."""
    with pytest.raises(ValidationError):
        Example.model_validate({"metadata": metadata})
