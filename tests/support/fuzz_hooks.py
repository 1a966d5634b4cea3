"""What schemathesis is told of this API, so that more of its requests get further than to the first refusal."""

import json
import os
import zlib
from typing import Any

import schemathesis

# Things that are there, by the names of the paths' parameters; those at one place belong together.
KNOWN: dict[str, list[str]] = json.loads(os.environ["FUZZ_KNOWN"])

# Parameters that the operator bounds, or that hang on another: what is made up is seldom right.
BOUNDED = {"max_attempts", "deadline", "grace", "disconnect_grace", "on_busy"}


@schemathesis.hook
def map_path_parameters(_: schemathesis.HookContext, path_parameters: dict[str, Any] | None) -> dict[str, Any] | None:
    """Let half of the requests for a thing name one that is there."""
    chance = _chance(path_parameters)
    if path_parameters is None or chance % 2:
        return path_parameters
    known = {name: ids[chance // 2 % len(ids)] for name, ids in KNOWN.items() if name in path_parameters}
    return {**path_parameters, **known}


@schemathesis.hook
def map_headers(_: schemathesis.HookContext, headers: dict[str, Any] | None) -> dict[str, Any] | None:
    """Let what is sent along for providers be JSON, at times."""
    name = "x-llamastack-provider-data"
    return headers if headers is None or name not in headers or _chance(headers) % 2 else {**headers, name: '{"a": 1}'}


@schemathesis.hook
def map_body(context: schemathesis.HookContext, body: Any) -> Any:
    """Let what is asked of a model name the one that is there; let a turn have an input, and follow what has been."""
    if not isinstance(body, dict) or not isinstance(body.get("model"), str) or not 1 <= len(body["model"]) <= 256:
        return body  # not for a model, or made to be refused
    likely = {**body, "model": "stand-in"}
    if context.operation is None or not context.operation.path.startswith("/v1/responses"):
        return likely
    likely["input"] = body.get("input") or "Hello."
    if _chance(body) % 2:
        likely = {name: value for name, value in likely.items() if name not in BOUNDED}
    if isinstance(tools := body.get("tools"), list):
        likely["tools"] = [_at_nobodys(tool) for tool in tools]
    if isinstance(body.get("previous_response_id"), str):
        likely["previous_response_id"] = KNOWN["response_id"][_chance(body) % len(KNOWN["response_id"])]
        likely.pop("conversation", None)
    elif body.get("conversation"):
        likely["conversation"] = KNOWN["conversation_id"][_chance(body) % len(KNOWN["conversation_id"])]
    return likely


def _at_nobodys(tool: Any) -> Any:
    """Let an MCP server be where the worker refuses to go at once: what is made up may be somebody's, or time out."""
    url = isinstance(tool, dict) and tool.get("type") == "mcp" and str(tool.get("server_url")).startswith("http")
    return {**tool, "server_url": "http://127.0.0.1:9/mcp"} if url else tool


def _chance(drawn: Any) -> int:
    """Return a number that depends on what was drawn and on nothing else, so that a seed repeats its run."""
    return zlib.crc32(repr(drawn).encode(errors="replace"))
