"""Items of a conversation as the messages of a chat completion."""

from typing import Any

from turnstream.turns import Item

type Message = dict[str, Any]

# Providers know three roles; the field's newer `developer` is their `system`.
_ROLES = {"developer": "system"}


def chat_messages(instructions: str | None, items: list[Item]) -> list[Message]:
    """Return the messages for a model: the instructions first, then the items in their order."""
    messages: list[Message] = [{"role": "system", "content": instructions}] if instructions else []
    for item in items:
        match item["type"]:
            case "message":
                role = _ROLES.get(item["role"], item["role"])
                messages.append({"role": role, "content": _text(item["content"])})
            case "function_call":
                _caller(messages).setdefault("tool_calls", []).append(_tool_call(item))
            case "function_call_output":
                output = item["output"]
                content = output if isinstance(output, str) else _text(output)
                messages.append({"role": "tool", "tool_call_id": item["call_id"], "content": content})
    return messages


def chat_tools(tools: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return function tools in the shape of a chat completion."""
    kept = ("name", "description", "parameters", "strict")
    return [
        {"type": "function", "function": {key: tool[key] for key in kept if tool.get(key) is not None}}
        for tool in tools
    ]


def chat_tool_choice(choice: str | dict[str, Any]) -> str | dict[str, Any]:
    """Return a tool choice in the shape of a chat completion."""
    return choice if isinstance(choice, str) else {"type": "function", "function": {"name": choice["name"]}}


def _caller(messages: list[Message]) -> Message:
    """Return the assistant's message that a call belongs to: calls made together stand in one message."""
    if not (messages and messages[-1]["role"] == "assistant"):
        messages.append({"role": "assistant", "content": None})
    return messages[-1]


def _tool_call(item: Item) -> dict[str, Any]:
    function = {"name": item["name"], "arguments": item["arguments"]}
    return {"id": item["call_id"], "type": "function", "function": function}


def _text(content: list[dict[str, Any]]) -> str:
    return "".join(part["text"] for part in content)
