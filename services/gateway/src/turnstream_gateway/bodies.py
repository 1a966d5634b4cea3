"""What every body has in common: its fields are known, and it is fit to be stored as JSON again."""

import re
from math import isfinite
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from turnstream import ids
from turnstream.errors import InvalidRequestError

DEPTH_LIMIT = 64  # orjson writes 254 levels, and a turn's events wrap what it asks in a few
SHOWN = 256  # characters of a client's own words that are said back in a message
ITEMS = {"input", "items"}  # what the database never looks into, so that it may hold any text
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")  # in JSON, where a backslash of the text's own is a pair

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
            check_storable(name, set_to)
        return value


def check_storable(name: str, value: Any) -> None:
    """Raise InvalidRequestError for a value that cannot be stored as JSON again, or not be read by the database."""
    depth, level = 0, [value]
    while level:
        # orjson writes null for these, which Python reads though they are not JSON.
        if any(isinstance(thing, float) and not isfinite(thing) for thing in level):
            raise _unfit(name, "it holds a number or a character that JSON cannot carry")
        inside = [thing for thing in level if isinstance(thing, dict | list)]
        depth += bool(inside)
        level = [inner for thing in inside for inner in (thing.values() if isinstance(thing, dict) else thing)]
    if depth > DEPTH_LIMIT:
        raise _unfit(name, f"it is nested more than {DEPTH_LIMIT} levels deep")
    try:
        encoded = orjson.dumps({name: value})
    except orjson.JSONEncodeError as error:
        raise _unfit(name, "it holds a number or a character that JSON cannot carry") from error
    if name not in ITEMS and _NUL.search(encoded):
        raise _unfit(name, "it holds a NUL character, which cannot be stored there")


def _unfit(name: str, why: str) -> InvalidRequestError:
    shown = name[:SHOWN].encode(errors="replace").decode()
    return InvalidRequestError(f"Invalid value for '{shown}': {why}.", code="invalid_value", param=shown)
