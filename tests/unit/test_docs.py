"""docs/api.md says what is true, and all of it: neither the code nor the document has a row that the other lacks."""

import ast
import json
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Any, get_args

import pytest
from pydantic_settings import BaseSettings
from support.application import description, operations
from support.specification import FILE as SPECIFICATION

import turnstream_gateway
from turnstream import errors, store
from turnstream.provision import ProvisionSettings
from turnstream_gateway import (
    bodies,
    disconnects,
    failures,
    http_protocol,
    items,
    prompt,
    prompt_reference,
    prompt_requests,
    prompts,
    provider_data,
    questions,
    requests,
    server_tools,
    tool_items,
    tools,
)
from turnstream_gateway.requests import INSTEAD, REFUSED, CreateResponse
from turnstream_gateway.resource_events import StreamEvent
from turnstream_gateway.resource_items import ItemResource
from turnstream_gateway.settings import GatewaySettings
from turnstream_worker import answer
from turnstream_worker.output import CALLS, NEW_ITEMS, TOOL_EVENTS
from turnstream_worker.parts import PART_KINDS
from turnstream_worker.settings import WorkerSettings

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "api.md").read_text()
DESCRIPTION = description()


def rows(table: str) -> list[list[str]]:
    """Return a table's rows without its head, each as its cells; one that is all code, without back-quotes."""
    lines = DOCUMENT.partition(f"<!-- {table} -->\n")[2].partition(f"<!-- /{table} -->")[0].splitlines()[2:]
    assert lines
    return [[re.sub("^`([^`]*)`$", r"\1", cell.strip()) for cell in line.strip("|").split("|")] for line in lines]


def names(table: str) -> list[str]:
    """Return the first cells of a table's rows, no two of which are the same."""
    first = [row[0] for row in rows(table)]
    assert len(set(first)) == len(first)
    return first


def types_in(union: Any) -> set[str]:
    """Return the values that the members of a union have as their type."""
    members = get_args(get_args(union.__value__)[0])
    return {kind for member in map(_untagged, members) for kind in get_args(member.model_fields["type"].annotation)}


def _untagged(member: Any) -> Any:
    return get_args(member)[0] if get_args(member) else member


def test_endpoints() -> None:
    """The table of endpoints has every operation of /openapi.json and no other."""
    assert [(method, path) for method, path, *_ in rows("endpoints")] == list(operations(DESCRIPTION))


def test_parameters() -> None:
    """The table of parameters has every field of a request for a turn, and every one that is refused by its name."""
    assert set(names("parameters")) == {*CreateResponse.model_fields, *INSTEAD, *REFUSED, "any other"}


@pytest.mark.skipif(not SPECIFICATION.exists(), reason="the specification does not lie beside the project")
def test_parameters_of_the_specification() -> None:
    """The table of parameters has every one that the specification has."""
    body = json.loads(SPECIFICATION.read_text())["components"]["schemas"]["CreateResponseBody"]
    assert body["properties"].keys() <= set(names("parameters"))


def test_items() -> None:
    """The table of items has every type that is taken or made."""
    taken, made = types_in(items.InputItem), {*NEW_ITEMS, *CALLS, *TOOL_EVENTS, "mcp_approval_request", "compaction"}
    assert types_in(ItemResource) == (taken | made) - {"item_reference"}
    assert {(kind, takes == "yes", makes == "yes") for kind, takes, makes, _ in rows("items")} == {
        (kind, kind in taken, kind in made) for kind in taken | made
    }


def test_server_tools() -> None:
    """The table of what a client says of an MCP server has every field of it."""
    assert ["type", *names("server tools")] == list(server_tools.McpTool.model_fields)


def test_parts() -> None:
    """The table of parts has every type that is taken, by the name under which it is kept, or made."""
    taken = {"summary_text", "reasoning_text"} | types_in(items.InputPart) | types_in(items.OutputPart)
    taken.remove("text")  # kept as input_text or output_text
    assert {(kind, takes == "yes", makes == "yes") for kind, _, takes, makes, _ in rows("parts")} == {
        (kind, kind in taken, kind in PART_KINDS) for kind in taken | PART_KINDS.keys()
    }


def test_events() -> None:
    """The table of events has every type that a stream may carry."""
    assert set(names("events")) == types_in(StreamEvent)


# Errors

KINDS = {
    name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.ApiError)
}
# What HTTP's own statuses are called, and what is found wrong with an image, by codes that stand elsewhere.
STATUSES = {
    (400, "bad_request"),
    (404, "not_found"),
    (405, "method_not_allowed"),
    (408, "request_timeout"),
    (431, "request_header_fields_too_large"),
}
IMAGE_CODES = {"unsupported_image_media_type", "invalid_image_format"}
VIDEO_CODES = {"invalid_image"}  # of MediaError, and never shown: what is wrong with a video is an invalid_value


def test_errors() -> None:
    """The table of errors has every status, type and code that a request can fail with, and no other."""
    bad = errors.InvalidRequestError
    raised = {
        (kind.status, kind.type, codes[0] if codes else "")
        for called, codes in calls_in("services/gateway", "code")
        if (kind := KINDS.get(called)) and codes != [None]
    }
    found = {code for _, codes in calls_in("shared", "image_code") for code in codes if code} - VIDEO_CODES
    raised |= {
        (bad.status, bad.type, str(code)) for code in found | IMAGE_CODES | set(failures.CODES.values()) - {None}
    }
    raised |= {(status, bad.type, code) for status, code in STATUSES}
    assert sorted((int(status), kind, code) for status, kind, code, _ in rows("errors")) == sorted(raised)


def test_every_described_status_is_explained() -> None:
    """Every status that /openapi.json has for a failure stands in the tables of errors and failures."""
    described = {status for operation in operations(DESCRIPTION).values() for status in operation["responses"]}
    told = {row[0] for row in rows("errors")} | {
        part for row in rows("failures") for part in re.findall(r"\w+", row[1])
    }
    assert {status for status in described if status[0] != "2"} <= told


def test_failures() -> None:
    """The table of a response's failures has every code that a turn can fail with, but for images that are fetched."""
    failures = {"TurnError", "ModelError"}
    codes = {code for called, codes in calls_in("services/worker", "code") if called in failures for code in codes}
    ended = {
        code for called, codes in calls_in("services/worker", 0) if called in {"failed", "_error"} for code in codes
    }
    assert set(names("failures")) == (codes | ended | {errors.TurnError("").code}) - {None}
    assert "`failed_to_download_image`" in DOCUMENT


def calls_in(folder: str, argument: str | int) -> Iterator[tuple[str, list[str | None]]]:
    """Yield the names that are called below a folder, each with the argument if it has it: None if it is no literal."""
    for path in sorted((ROOT / folder).rglob("src/**/*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                given = [word.value for word in node.keywords if word.arg == argument]
                given += node.args[argument : argument + 1] if isinstance(argument, int) else []
                yield node.func.id, [_text(value) for value in given]


def _text(value: ast.expr) -> str | None:
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else None


# Limits

LIMITS: dict[str, tuple[ModuleType | type[BaseSettings], str]] = {
    "bytes of a request's body": (GatewaySettings, "body_limit"),
    "bytes of a request besides its body": (http_protocol, "OVERHEAD_LIMIT"),
    "seconds a request may take to arrive": (GatewaySettings, "request_timeout"),
    "levels of lists and objects in a parameter": (bodies, "DEPTH_LIMIT"),
    "bytes of the parameters without the input": (questions, "PARAMETERS_LIMIT"),
    "bytes of the items that an input refers to": (questions, "REFERENCED_LIMIT"),
    "items in an input": (requests, "ITEMS_LIMIT"),
    "items put into a conversation at a time": (requests, "NEW_ITEMS_LIMIT"),
    "parts of a message or an output": (items, "PARTS_LIMIT"),
    "tools": (tools, "TOOLS_LIMIT"),
    "bytes an attachment may carry itself": (questions, "ATTACHMENT_LIMIT"),
    "bytes of an attachment that is fetched": (WorkerSettings, "attachment_limit"),
    "attachments of a turn with its conversation": (WorkerSettings, "attachments"),
    "bytes of all of them": (WorkerSettings, "attachments_limit"),
    "bytes of earlier items that a turn may read": (WorkerSettings, "max_history"),
    "responses that `previous_response_id` leads back through": (store, "CHAIN_LIMIT"),
    "characters of text and arguments in an answer": (WorkerSettings, "max_output"),
    "calls in an answer": (answer, "CALLS_LIMIT"),
    "prompts of a tenant": (prompts, "PROMPTS_LIMIT"),
    "versions of a prompt": (prompts, "VERSIONS_LIMIT"),
    "variables of a prompt": (prompt_reference, "VARIABLES_LIMIT"),
    "characters of a prompt's template": (prompt_requests, "TEMPLATE_LIMIT"),
    "characters of a prompt with its values": (prompt, "RENDERED_LIMIT"),
    "tools of an MCP server that a list names": (server_tools, "NAMES_LIMIT"),
    "headers for an MCP server": (server_tools, "HEADERS_LIMIT"),
    "characters of such a header, and of an authorization": (server_tools, "HEADER_VALUE_LIMIT"),
    "bytes of a request's headers and authorizations for tools, with the provider data": (questions, "SECRETS_LIMIT"),
    "bytes of `X-LlamaStack-Provider-Data`": (provider_data, "PROVIDER_DATA_LIMIT"),
    "domains that a search may be held to": (server_tools, "DOMAINS_LIMIT"),
    "tools, results or sources that an item may list": (tool_items, "LISTED_LIMIT"),
    "max_attempts": (GatewaySettings, "max_attempts_limit"),
    "deadline": (GatewaySettings, "deadline_limit"),
    "grace": (GatewaySettings, "grace_limit"),
    "disconnect_grace": (GatewaySettings, "disconnect_grace_limit"),
    "readers that a gateway waits for at a time": (disconnects, "WAITS_LIMIT"),
    "turns of a conversation that have not ended, ahead of another": (store, "LINE_LIMIT"),
    "turns of a tenant that are queued or running": (ProvisionSettings, "queue_depth_per_tenant"),
    "turns of all tenants that are": (ProvisionSettings, "queue_depth"),
    "seconds a client's own retry joins what it began": (GatewaySettings, "retry_window"),
}


def test_limits() -> None:
    """The table of limits has their values."""
    assert rows("limits") == [[what, _shown(place, name)] for what, (place, name) in LIMITS.items()]


def test_every_limit_is_told() -> None:
    """Every limit of the gateway's is in the table."""
    told = {name for _, name in LIMITS.values()}
    for module in iter_modules(turnstream_gateway.__path__, "turnstream_gateway."):
        limits = {name for name in vars(import_module(module.name)) if name.endswith("_LIMIT")}
        assert limits <= told, module.name


def _shown(place: ModuleType | type[BaseSettings], name: str) -> str:
    if isinstance(place, ModuleType):
        return str(vars(place)[name])
    return f"{place.model_fields[name].default}, by `TURNSTREAM_{name.upper()}`"
