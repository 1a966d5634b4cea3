"""What every body has in common: its fields are known, and it is fit to be stored as JSON again."""

from typing import Annotated, Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from turnstream import ids
from turnstream.errors import InvalidRequestError

DEPTH_LIMIT = 64  # orjson writes 254 levels, and a turn's events wrap what it asks in a few

type Id = Annotated[str, StringConstraints(pattern=ids.WELL_FORMED)]
type Name = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
type Metadata = Annotated[
    dict[Annotated[str, StringConstraints(max_length=64)], Annotated[str, StringConstraints(max_length=512)]],
    Field(max_length=16),
]


def _with_nulls(schema: dict[str, Any]) -> None:
    """Say in a model's schema that a null is nothing: fields that may be left out, and unknown ones, may be null."""
    for name, field in schema.get("properties", {}).items():
        if name not in schema.get("required", ()) and {"type": "null"} not in field.get("anyOf", ()):
            schema["properties"][name] = {"anyOf": [field, {"type": "null"}]}
    if schema["additionalProperties"] is False:
        schema["additionalProperties"] = {"type": "null"}


class Strict(BaseModel):
    """A part of a body in which every field is known and of its type: another is refused, never dropped or bent."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, json_schema_extra=_with_nulls)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, value: Any) -> Any:
        """Take a null for a field that was left out: SDKs send back items with all the fields that they know."""
        return (
            {key: set_to for key, set_to in value.items() if set_to is not None} if isinstance(value, dict) else value
        )


class Body(Strict):
    """A whole body."""

    @model_validator(mode="before")
    @classmethod
    def _storable(cls, value: Any) -> Any:
        for name, set_to in value.items() if isinstance(value, dict) else ():
            _check_storable(name, set_to)
        return value


def _check_storable(name: str, value: Any) -> None:
    """Raise InvalidRequestError for a value that cannot be stored as JSON again."""
    shown = name.encode(errors="replace").decode()
    if _depth(value) > DEPTH_LIMIT:
        message = f"Invalid value for '{shown}': it is nested more than {DEPTH_LIMIT} levels deep."
        raise InvalidRequestError(message, code="invalid_value", param=shown)
    try:
        orjson.dumps({name: value})
    except orjson.JSONEncodeError as error:
        message = f"Invalid value for '{shown}': it holds a number or a character that JSON cannot carry."
        raise InvalidRequestError(message, code="invalid_value", param=shown) from error


def _depth(value: Any) -> int:
    """Return how many lists and objects stand in each other, counted level by level."""
    depth, level = 0, [value]
    while level := [thing for thing in level if isinstance(thing, dict | list)]:
        depth += 1
        level = [inner for thing in level for inner in (thing.values() if isinstance(thing, dict) else thing)]
    return depth
