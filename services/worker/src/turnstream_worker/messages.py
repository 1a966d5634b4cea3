"""Items of a conversation as the messages of a chat completion."""

from dataclasses import dataclass
from typing import Any

import orjson

from turnstream.errors import TurnError
from turnstream.turns import Item
from turnstream_worker.chat_parts import chat_part
from turnstream_worker.sealing import Sealing

type Message = dict[str, Any]

# Providers know three roles; the field's newer `developer` is their `system`.
_ROLES = {"developer": "system"}
OUTPUTS = {"function_call_output", "custom_tool_call_output"}
SUMMARY = "A summary of the conversation so far, in place of its messages:\n\n"
DENIED = "The user did not allow this call, and it was not run."
NOT_DECIDED = "This call waits for the user to allow it, and was not run."
ATTACHED = "What the tool call {call} returned besides its text:"


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads a tenant's items."""

    sealing: Sealing
    tenant: str

    def messages(self, items: list[Item]) -> list[Message]:
        """Return the messages for a model.

        Reasoning goes back to the model behind the last message of its user alone, as models' own templates have it:
        what it thought of earlier questions is left out. Raises TurnError for items that cannot be read.
        """
        messages: list[Message] = []
        asked_at = max((place for place, item in enumerate(items) if item.get("role") == "user"), default=-1)
        calls: set[str] = set()
        approvals = _approvals(items)
        # What a tool returned besides text stands behind the outputs of all calls that were made together.
        attached: list[Message] = []
        for place, item in enumerate(items):
            if attached and item["type"] not in OUTPUTS:
                messages += attached
                attached = []
            match item["type"]:
                case "message":
                    _add_message(item, messages)
                case "reasoning" if place > asked_at:
                    if thought := self._thought(item):
                        _add_thought(thought, messages)
                case "function_call" | "custom_tool_call":
                    calls.add(item["call_id"])
                    _caller(messages).setdefault("tool_calls", []).append(_tool_call(item))
                case "function_call_output" | "custom_tool_call_output":
                    if item["call_id"] not in calls:
                        message = f"No tool call was found for the output with call_id '{item['call_id']}'."
                        raise TurnError(message, code="invalid_prompt", status=400)
                    _add_output(item, messages, attached)
                case "compaction":
                    messages.append({"role": "user", "content": SUMMARY + self._summary(item)})
                case _:
                    _add_exchange(item, approvals, messages)
        return messages + attached

    def _thought(self, item: Item) -> str:
        sealed = item.get("encrypted_content")
        said = "".join(part["text"] for part in item.get("content") or ())
        return said or (sealed and self.sealing.open(self.tenant, sealed)) or ""

    def _summary(self, item: Item) -> str:
        summary = self.sealing.open(self.tenant, item["encrypted_content"])
        if summary is None:
            message = "A compaction item was not made here, or was changed."
            raise TurnError(message, code="invalid_prompt", status=400)
        return summary


def _add_exchange(item: Item, approvals: dict[str, str], messages: list[Message]) -> None:
    """Add the call of a tool that Turnstream runs, and what it returned; nothing for any other item."""
    match item["type"]:
        case "mcp_call" if item.get("approval_request_id") is None:
            name, arguments, returned = item["name"], item["arguments"], _returned(item)
        case "mcp_approval_request":
            name, arguments, returned = item["name"], item["arguments"], approvals.get(item["id"], NOT_DECIDED)
        case "web_search_call" if item.get("action", {}).get("query") is not None:
            name, returned = "web_search", _found(item)
            arguments = orjson.dumps({"query": item["action"]["query"]}).decode()
        case _:
            return
    function = {"name": name, "arguments": _as_json(arguments)}
    _caller(messages).setdefault("tool_calls", []).append({"id": item["id"], "type": "function", "function": function})
    messages.append({"role": "tool", "tool_call_id": item["id"], "content": returned})


def _approvals(items: list[Item]) -> dict[str, str]:
    """Return what became of the calls that a person was asked about, by the ids of the requests."""
    decided = {}
    for item in items:
        if item["type"] == "mcp_approval_response":
            reason = f" They said: {item['reason']}" if item.get("reason") else ""
            decided[item["approval_request_id"]] = NOT_DECIDED if item["approve"] else DENIED + reason
        elif item["type"] == "mcp_call" and item.get("approval_request_id"):
            decided[item["approval_request_id"]] = _returned(item)
    return decided


def _returned(item: Item) -> str:
    error = item.get("error")
    if error is None:
        return item.get("output") or ""
    return error if isinstance(error, str) else orjson.dumps(error).decode()


def _found(item: Item) -> str:
    if item.get("error"):
        return str(item["error"])
    return orjson.dumps(item.get("results") or []).decode()


def _add_thought(thought: str, messages: list[Message]) -> None:
    """Add reasoning before what it led to; there is some that led to nothing, of an attempt that died behind it."""
    if messages and messages[-1].keys() == {"role", "content", "reasoning_content"} and messages[-1]["content"] is None:
        messages[-1]["reasoning_content"] += f"\n\n{thought}"
    else:
        messages.append({"role": "assistant", "content": None, "reasoning_content": thought})


def _add_message(item: Item, messages: list[Message]) -> None:
    role = _ROLES.get(item["role"], item["role"])
    content = _content(item["content"])
    if role == "assistant" and messages and messages[-1]["role"] == role and messages[-1]["content"] is None:
        messages[-1]["content"] = content  # what was thought, or called, before it was said
    else:
        messages.append({"role": role, "content": content})


def _caller(messages: list[Message]) -> Message:
    """Return the assistant's message that a call belongs to: calls made together stand in one message."""
    if not (messages and messages[-1]["role"] == "assistant"):
        messages.append({"role": "assistant", "content": None})
    return messages[-1]


def _tool_call(item: Item) -> dict[str, Any]:
    # A custom tool is offered as a function of one text.
    arguments = _as_json(item["arguments"]) if "arguments" in item else orjson.dumps({"input": item["input"]}).decode()
    return {"id": item["call_id"], "type": "function", "function": {"name": item["name"], "arguments": arguments}}


def _as_json(arguments: str) -> str:
    """Return a call's arguments as JSON, whatever the model made of them: servers parse those of earlier calls."""
    try:
        orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return orjson.dumps({"invalid": arguments}).decode() if arguments else "{}"
    return arguments


def _add_output(item: Item, messages: list[Message], attached: list[Message]) -> None:
    """Add what a tool returned. A tool's message takes text alone, so the rest follows as the user's."""
    output = item["output"]
    texts = output if isinstance(output, str) else "".join(part.get("text", "") for part in output)
    messages.append({"role": "tool", "tool_call_id": item["call_id"], "content": texts})
    others = [] if isinstance(output, str) else [chat_part(part) for part in output if part["type"] != "input_text"]
    if others:
        note = {"type": "text", "text": ATTACHED.format(call=item["call_id"])}
        attached.append({"role": "user", "content": [note, *others]})


def _content(content: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """Return a message's content, as text where it is nothing else: some providers take nothing else."""
    texts = [part.get("text", part.get("refusal")) for part in content]
    return "".join(map(str, texts)) if None not in texts else [chat_part(part) for part in content]
