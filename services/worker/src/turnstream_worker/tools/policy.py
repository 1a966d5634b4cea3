"""What a request says of an MCP server's tools: which may be called, and how."""

from typing import Any

from turnstream_worker.tools.tool import OnUncertain

type Listed = dict[str, Any]
"""A tool as it was listed: `name`, `description`, `input_schema`, `annotations`."""


def is_allowed(tool: Listed, allowed: list[str] | dict[str, Any] | None) -> bool:
    """Tell whether a tool is among a request's `allowed_tools`."""
    if allowed is None:
        return True
    if isinstance(allowed, list):
        return tool["name"] in allowed
    names, read_only = allowed.get("tool_names"), allowed.get("read_only")
    return (names is None or tool["name"] in names) and (read_only is None or read_only == _hints(tool, "readOnlyHint"))


def needs_approval(tool: Listed, required: str | dict[str, Any] | None, *, default: bool) -> bool:
    """Tell whether a tool is called only after the client said yes, by a request's `require_approval`.

    A tool that is named on both of its lists needs it.
    """
    if isinstance(required, str):
        return required == "always"
    lists = required or {}
    if _is_named(tool, lists.get("always")):
        return True
    return default and not _is_named(tool, lists.get("never"))


def on_uncertain(tool: Listed, asked: OnUncertain | None) -> OnUncertain:
    """Return what to do about a call that may have run: what the request says, or what the tool says of itself."""
    if asked:
        return asked
    return "retry" if _hints(tool, "readOnlyHint") or _hints(tool, "idempotentHint") else "fail"


def _is_named(tool: Listed, names: dict[str, Any] | None) -> bool:
    return names is not None and is_allowed(tool, names)


def _hints(tool: Listed, hint: str) -> bool:
    return (tool.get("annotations") or {}).get(hint) is True
