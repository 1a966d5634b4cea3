"""/openapi.json describes every route in full, also those that are added later."""

import json
import re
from typing import Any

import pytest
import schemathesis
from support.application import description, operations

DESCRIPTION = description()
OPERATIONS = operations(DESCRIPTION)
SCHEMAS = DESCRIPTION["components"]["schemas"]
FAILURE = {"application/json": {"schema": {"$ref": "#/components/schemas/Failure"}}}


def answers(operation: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return an operation's successful responses by status."""
    return {status: response for status, response in operation["responses"].items() if status[0] == "2"}


def test_is_openapi() -> None:
    """The description is OpenAPI 3.1, and every reference in it leads somewhere."""
    schemathesis.openapi.from_dict(DESCRIPTION).validate()
    targets = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(DESCRIPTION)))
    assert targets <= SCHEMAS.keys()


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=map(" ".join, OPERATIONS))
def test_answers_are_described(operation: dict[str, Any]) -> None:
    """An operation says what it answers with, and that its failures have OpenAI's shape."""
    assert answers(operation)
    for status, response in answers(operation).items():
        assert status == "204" or all(content["schema"] for content in response["content"].values())
    for status, response in operation["responses"].items():
        assert status[0] == "2" or response["content"] == FAILURE


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=map(" ".join, OPERATIONS))
def test_failures_follow_from_what_is_taken(operation: dict[str, Any]) -> None:
    """What takes a body or a parameter can refuse it, with 400 and never FastAPI's 422; what names a thing, miss it."""
    places = {parameter["in"] for parameter in operation.get("parameters", ())}
    statuses = operation["responses"].keys()
    assert "422" not in statuses
    assert ("400" in statuses) == ("requestBody" in operation or bool(places & {"query", "header"}))
    assert "404" in statuses or "path" not in places
    assert ("413" in statuses) == ("requestBody" in operation)


def test_keys() -> None:
    """Every operation takes an API key, but for those that probes call, and can refuse it."""
    without = [path for (_, path), operation in OPERATIONS.items() if operation["security"] == []]
    assert without == ["/v1/health", "/v1/version"]
    keyed = [operation for operation in OPERATIONS.values() if operation["security"]]
    assert all(operation["security"] == [{"key": []}, {}] and "401" in operation["responses"] for operation in keyed)
    assert DESCRIPTION["components"]["securitySchemes"]["key"]["scheme"] == "bearer"


@pytest.mark.parametrize("operation", [("POST", "/v1/responses"), ("GET", "/v1/responses/{response_id}")])
def test_streams_are_described(operation: tuple[str, str]) -> None:
    """A response can come as a stream of events, whose data is described by their types."""
    content = OPERATIONS[operation]["responses"]["200"]["content"]
    data = content["text/event-stream"]["schema"]["properties"]["data"]
    assert data["contentSchema"] == {"$ref": "#/components/schemas/StreamEvent"}
    assert SCHEMAS["StreamEvent"]["discriminator"]["mapping"]["error"] == "#/components/schemas/ErrorEvent"
    assert content["application/json"]["schema"] == {"$ref": "#/components/schemas/ResponseResource"}


def test_shorthands_are_described() -> None:
    """Where a text will do for items or parts, an id for an object, and a null for nothing, the description says so."""
    assert {"type": "string"} in SCHEMAS["Input"]["anyOf"]
    assert {"type": "string"} in SCHEMAS["InputParts"]["anyOf"]
    assert {"$ref": "#/components/schemas/Id"} in SCHEMAS["ConversationId"]["anyOf"]
    assert {"type": "null"} in SCHEMAS["UserMessage"]["properties"]["status"]["anyOf"]
