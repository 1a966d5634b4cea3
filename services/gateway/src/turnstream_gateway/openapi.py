"""/openapi.json: what FastAPI sees in the routes, and what it cannot see."""

from typing import Any

from fastapi import FastAPI
from pydantic import TypeAdapter

from turnstream_gateway.authentication import OPEN_PATHS
from turnstream_gateway.resource_events import StreamEvent
from turnstream_gateway.resources import Failure

FAILURES: dict[int | str, str] = {
    400: "The request is wrong, and the message says what to change.",
    401: "There is no API key, or none that is valid.",
    403: "The API key is not an admin key.",
    404: "There is no such thing, or it is another tenant's.",
    409: "What is there does not allow it.",
    413: "The body, or what it stands for, is too large.",
    429: "Too much is under way, or the model's provider limits the rate of requests, or the quota there is used up.",
    "4XX": "The model's provider refuses the request.",
    501: "Turnstream is not set up for it.",
    502: "The model's provider failed.",
    503: "Turnstream is not available at the moment. The same request may be sent again.",
    504: "The model's provider did not answer in time.",
}
ASKING = ("4XX", 429, 502, 504)  # what else can fail where a model is asked at once

_SCHEMAS = "#/components/schemas/"
_SECURITY = {
    "key": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key. Until there is one, a gateway on a loopback address takes requests without.",
    }
}

# A route's `responses`, if it can answer with a stream. OpenAPI before 3.2 has no `itemSchema` for the events of one,
# so its readers take `schema` for that of each event.
_EVENT = {
    "type": "object",
    "required": ["event", "data"],
    "properties": {
        "event": {"type": "string", "description": "The type of the event."},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"$ref": f"{_SCHEMAS}StreamEvent"},
        },
        "id": {"type": "string"},
    },
}
STREAM: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {"schema": _EVENT}}}}
# A route's `responses`, if it answers as the model's provider does: whole, or with a stream of data that is JSON, or
# [DONE] at its end.
_ANSWER = {"application/json": {"schema": {"type": "object", "description": "The provider's own answer."}}}
_CHUNK = {"type": "object", "required": ["data"], "properties": {"data": {"type": "string"}}}
PROVIDERS_ANSWER: dict[int | str, dict[str, Any]] = {200: {"content": _ANSWER}}
PROVIDERS_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"content": {**_ANSWER, "text/event-stream": {"schema": _CHUNK}}}
}


def failing(*statuses: int | str) -> dict[int | str, dict[str, Any]]:
    """Return a route's `responses` for failures of its own, besides those that follow from what it takes."""
    content = {"application/json": {"schema": {"$ref": f"{_SCHEMAS}Failure"}}}
    return {status: {"description": FAILURES[status], "content": content} for status in statuses}


class Api(FastAPI):
    """An application whose description is true."""

    def openapi(self) -> dict[str, Any]:
        """Return the description: made once, like FastAPI's own."""
        return self.openapi_schema or _completed(super().openapi())


def _completed(description: dict[str, Any]) -> dict[str, Any]:
    components = description.setdefault("components", {})
    components["schemas"] = dict(sorted({**components.get("schemas", {}), **_unseen_schemas()}.items()))
    components["securitySchemes"] = _SECURITY
    for path, operations in description["paths"].items():
        for operation in operations.values():
            operation["security"] = [] if path in OPEN_PATHS else [{"key": []}, {}]
            operation["responses"] = _responses(path, operation)
    for made_up in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(made_up, None)
    return description


def _unseen_schemas() -> dict[str, Any]:
    """Return the schemas that no route returns an object of: events are lines of a stream, failures are raised."""
    schemas: dict[str, Any] = {}
    unseen: dict[str, TypeAdapter[Any]] = {"StreamEvent": TypeAdapter(StreamEvent), "Failure": TypeAdapter(Failure)}
    for name, adapter in unseen.items():
        schema = adapter.json_schema(mode="serialization", ref_template=f"{_SCHEMAS}{{model}}")
        schemas |= schema.pop("$defs")
        schemas[name] = schema
    return schemas


def _responses(path: str, operation: dict[str, Any]) -> dict[str, Any]:
    """Return an operation's responses, with the failures that follow from what it takes, and without FastAPI's 422."""
    parameters = operation.get("parameters", ())
    follow = {
        400: "requestBody" in operation or any(parameter["in"] != "path" for parameter in parameters),
        401: path not in OPEN_PATHS,
        404: any(parameter["in"] == "path" for parameter in parameters),
        413: "requestBody" in operation,
        503: path not in OPEN_PATHS,
    }
    failures = failing(*(status for status, does in follow.items() if does))
    known = {**{str(status): response for status, response in failures.items()}, **operation["responses"]}
    known.pop("422", None)
    return dict(sorted(known.items()))
