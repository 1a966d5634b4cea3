"""The Open Responses specification, which lies beside the project and not in it, as something to hold JSON against."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

FILE = Path(__file__).parents[3] / "shared" / "specs" / "openresponses-spec.json"
URI = "urn:openresponses"


@dataclass(frozen=True)
class Amendment:
    """What a list of alternatives in the specification lacks: a defect, or what it does not know yet."""

    of: str  # the schema with the list, by the names on the way to it
    keyword: str  # of the list
    schema: dict[str, Any]
    reason: str
    example: Any  # what would not fit without it


class Specification:
    """The specification's schemas, with amendments."""

    def __init__(self, amendments: Sequence[Amendment] = ()) -> None:
        document = json.loads(FILE.read_text())
        self._schemas = document["components"]["schemas"]
        self._events = {
            kind: name
            for name, schema in self._schemas.items()
            if name.endswith("StreamingEvent")
            for kind in schema["properties"]["type"]["enum"]
        }
        for amendment in amendments:
            amended: Any = self._schemas
            for step in amendment.of.split("/"):
                amended = amended[int(step) if isinstance(amended, list) else step]
            amended[amendment.keyword].append(amendment.schema)
        self._registry: Registry[Any] = Registry().with_resource(URI, DRAFT202012.create_resource(document))

    def knows(self, kind: str) -> bool:
        """Tell whether there is an event of this type."""
        return kind in self._events

    def complaints(self, schema: str, value: Any) -> list[str]:
        """Return where and why a value does not fit a schema, which is named by the names on the way to it."""
        whole = {"$ref": f"{URI}#/components/schemas/{schema}"}
        validator = Draft202012Validator(whole, registry=self._registry)
        errors = [_deepest(error) for error in validator.iter_errors(value)]
        return [f"{schema} {error.json_path}: {error.message}" for error in errors]

    def event_complaints(self, event: dict[str, Any]) -> list[str]:
        """Return where and why an event does not fit the schema of its type."""
        return self.complaints(self._events[event["type"]], event)


def _deepest(error: Any) -> Any:
    """Return the error within an error that says the most: unions only say that no alternative fits."""
    while error.context:
        error = max(error.context, key=lambda inner: len(inner.absolute_path))
    return error
