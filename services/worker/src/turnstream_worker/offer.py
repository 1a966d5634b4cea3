"""What a model is offered: the client's tools, and those that Turnstream runs, all as functions."""

from collections.abc import Mapping
from typing import Any

from turnstream_worker.tools.tool import Tool

# Whose calls end the turn: the client runs these.
CLIENT_TOOLS = {"function", "custom"}


def offered(asked: dict[str, Any], toolbox: Mapping[str, Tool], *, called: bool) -> dict[str, Any]:
    """Return what is asked with every tool as a function, and a choice that names functions alone.

    A choice that makes the model call a tool holds until one was `called`: it could never answer otherwise.
    """
    tools = asked.get("tools", ())
    clients = [tool for tool in tools if tool["type"] in CLIENT_TOOLS]
    if len(clients) == len(tools):
        return asked
    functions = [{"type": "function", "strict": None, **tool.definition} for tool in toolbox.values()]
    return {**asked, "tools": [*clients, *functions], "tool_choice": _choice(asked, toolbox, called=called)}


def _choice(asked: dict[str, Any], toolbox: Mapping[str, Tool], *, called: bool) -> str | dict[str, Any]:
    choice = asked.get("tool_choice", "auto")
    mode = choice if isinstance(choice, str) else choice.get("mode", "required")
    mode = "auto" if called and mode == "required" else mode
    if isinstance(choice, str):
        return str(mode)
    if choice["type"] != "allowed_tools" and mode == "auto":
        return "auto"  # the one tool that it had to call was called
    allowed = choice["tools"] if choice["type"] == "allowed_tools" else [choice]
    names = [name for one in allowed for name in _names(one, toolbox)]
    return {"type": "allowed_tools", "mode": mode, "tools": [{"name": name} for name in names]}


def _names(chosen: dict[str, Any], toolbox: Mapping[str, Tool]) -> list[str]:
    """Return what the model calls the tools that an entry of a choice stands for."""
    if chosen["type"] in CLIENT_TOOLS:
        return [chosen["name"]]
    if chosen["type"] != "mcp":
        return [name for name, tool in toolbox.items() if tool.kind == "web_search_call"]
    wanted = {field: chosen[field] for field in ("server_label", "name") if chosen.get(field) is not None}
    return [name for name, tool in toolbox.items() if wanted.items() <= tool.shown.items()]
