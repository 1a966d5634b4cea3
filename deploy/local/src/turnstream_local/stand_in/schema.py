"""The smallest value that fits a JSON schema, filled from a text."""

import re
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from typing import Any

from turnstream_local.stand_in.errors import ApiError

MAX_DEPTH = 12
"""Levels; below it arrays stay empty and the rest is null, so that a schema that holds itself comes to an end."""
MAX_STRING = 500
NUMBER = re.compile(r"-?\d{1,15}(?:\.\d{1,6})?")
FORMATS = {
    "date": "2025-01-01",
    "time": "12:00:00Z",
    "date-time": "2025-01-01T12:00:00Z",
    "email": "someone@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def fill(schema: dict[str, Any], text: str) -> Any:
    """Make a value that fits the schema: strings are the text, numbers those in it in turn, enums their first."""
    try:
        return _Filler(schema, text).value(schema, 0)
    except (AttributeError, TypeError, ValueError) as error:
        raise ApiError("The JSON schema is not valid.", code="invalid_schema") from error


class _Filler:
    def __init__(self, root: dict[str, Any], text: str) -> None:
        self._root = root
        self._text = text[:MAX_STRING]
        self._numbers = _numbers_in(text)

    def value(self, schema: Any, depth: int) -> Any:
        schema = self._resolve(schema)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return schema["enum"][0]
        makers: dict[str, Callable[[], Any]] = {
            "object": lambda: self._object(schema, depth),
            "array": lambda: self._array(schema, depth),
            "string": lambda: self._string(schema),
            "integer": lambda: int(_within(schema, int(next(self._numbers)), step=1)),
            "number": lambda: _shortest(_within(schema, next(self._numbers), step=0.5)),
            "boolean": lambda: False,
        }
        return makers.get(_type_of(schema), lambda: None)()

    def _object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        if depth >= MAX_DEPTH:
            return {}
        properties = schema.get("properties", {})
        return {name: self.value(properties.get(name, {}), depth + 1) for name in schema.get("required", ())}

    def _array(self, schema: dict[str, Any], depth: int) -> list[Any]:
        if depth >= MAX_DEPTH:
            return []
        length = max(schema.get("minItems", 0), min(1, schema.get("maxItems", 1)))
        return [self.value(schema.get("items", {"type": "string"}), depth + 1) for _ in range(length)]

    def _string(self, schema: dict[str, Any]) -> str:
        text: str = FORMATS.get(schema.get("format", ""), self._text)
        return text[: schema.get("maxLength")].ljust(schema.get("minLength", 0), ".")

    def _resolve(self, schema: Any) -> dict[str, Any]:
        """Follow references and take the first branch that is not null; `allOf` is merged."""
        for _ in range(MAX_DEPTH):
            if not isinstance(schema, dict):
                return {}
            if "$ref" in schema:
                schema = self._at(schema["$ref"])
            elif branches := schema.get("anyOf") or schema.get("oneOf"):
                schema = next((branch for branch in branches if branch != {"type": "null"}), branches[0])
            elif schema.get("allOf"):
                schema = _merged([schema, *map(self._resolve, schema["allOf"])])
            else:
                return schema
        return {}

    def _at(self, reference: str) -> Any:
        found: Any = self._root
        for step in reference.removeprefix("#").strip("/").split("/") if reference != "#" else ():
            found = found.get(step, {}) if isinstance(found, dict) else {}
        return found


def _numbers_in(text: str) -> Iterator[float]:
    found = [float(number) for number in NUMBER.findall(text)] or [1.0]
    return chain(found, repeat(found[-1]))


def _type_of(schema: dict[str, Any]) -> str:
    declared = schema.get("type")
    if isinstance(declared, list):
        declared = next((name for name in declared if name != "null"), "null")
    if declared is None:
        return "object" if "properties" in schema else "string"
    return str(declared)


def _shortest(number: float) -> float:
    return int(number) if number == int(number) else number


def _within(schema: dict[str, Any], number: float, step: float) -> float:
    if "minimum" in schema:
        number = max(number, schema["minimum"])
    if "exclusiveMinimum" in schema and number <= schema["exclusiveMinimum"]:
        number = schema["exclusiveMinimum"] + step
    if "maximum" in schema:
        number = min(number, schema["maximum"])
    if "exclusiveMaximum" in schema and number >= schema["exclusiveMaximum"]:
        number = schema["exclusiveMaximum"] - step
    return number


def _merged(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for schema in schemas:
        properties = merged.get("properties", {}) | schema.get("properties", {})
        required = [*merged.get("required", ()), *schema.get("required", ())]
        merged = {**merged, **schema, "properties": properties, "required": required}
    merged.pop("allOf", None)
    return merged
