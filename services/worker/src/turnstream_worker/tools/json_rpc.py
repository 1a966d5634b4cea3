"""The messages of MCP: JSON-RPC 2.0, of which a server may send anything."""

from typing import Any

import orjson

from turnstream_worker.tools.tool import ToolError

type Message = dict[str, Any]

ERROR_LIMIT = 1000  # characters of a server's own words
_NO_SUCH_METHOD = {"code": -32601, "message": "Method not found"}


def request(number: int, method: str, params: dict[str, Any]) -> Message:
    """Make a request, which is answered under its number."""
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


def notification(method: str, params: dict[str, Any] | None = None) -> Message:
    """Make a message that is not answered."""
    return {"jsonrpc": "2.0", "method": method, **({"params": params} if params else {})}


def cancelled(number: int) -> Message:
    """Make the message that takes a request back."""
    return notification("notifications/cancelled", {"requestId": number, "reason": "It is no longer wanted."})


def parse(data: bytes) -> list[Message]:
    """Return what a server sent, one message or a batch of them; raise ToolError if it is neither."""
    try:
        parsed = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise not_mcp() from error
    messages = parsed if isinstance(parsed, list) else [parsed]
    if not all(isinstance(message, dict) for message in messages):
        raise not_mcp()
    return messages


def answers(message: Message, number: int) -> bool:
    """Tell whether a message is the answer to the request of this number."""
    return "method" not in message and message.get("id") in (number, str(number))


def result(message: Message) -> Any:
    """Return an answer's result; raise ToolError if the answer is an error."""
    if (failure := message.get("error")) is not None:
        said = failure.get("message") if isinstance(failure, dict) else None
        words = said[:ERROR_LIMIT] if isinstance(said, str) else "it gives no reason"
        raise ToolError(f"The MCP server refused: {words}", reason="rpc_error")
    return message.get("result")


def reply(message: Message) -> Message | None:
    """Return what a server is answered that asks something of us; None if it does not.

    We live, which is all that we promise to a server.
    """
    if "method" not in message or "id" not in message:
        return None
    said = {"result": {}} if message["method"] == "ping" else {"error": _NO_SUCH_METHOD}
    return {"jsonrpc": "2.0", "id": message["id"], **said}


def not_mcp() -> ToolError:
    """Return the error about what is no message of MCP."""
    return ToolError("The MCP server's answer is not valid MCP.", reason="invalid")
