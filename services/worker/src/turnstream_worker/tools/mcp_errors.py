"""What goes wrong with MCP servers, in words that are fit for the client and the model."""

from http import HTTPStatus

from turnstream_worker.tools.tool import ToolError

WORDS_LIMIT = 1000  # characters of a server's own words


class LateError(ToolError):
    """A server took too long."""

    def __init__(self, patience: float) -> None:
        super().__init__(f"The MCP server did not answer within {patience:g} seconds.", reason="timeout")


class TooLargeError(ToolError):
    """A server sent more than it may."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"The MCP server's answer is larger than {limit} bytes.", reason="too_large")


class StatusError(ToolError):
    """A server answered with an HTTP status that is none of success."""

    def __init__(self, status: int) -> None:
        refused = status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
        who = "The MCP server refused the credentials: it" if refused else "The MCP server"
        super().__init__(f"{who} answered with HTTP status {status}.", reason="bad_status")
        self.status = status


class BrokenError(ToolError):
    """A connection ended too early."""

    def __init__(self) -> None:
        message = "The connection to the MCP server broke before it answered."
        super().__init__(message, reason="broken", broken=True)


class SessionGoneError(ToolError):
    """A session is over, and nothing of the request was done."""

    def __init__(self) -> None:
        super().__init__("The MCP server has ended the session.", reason="session_gone", broken=True)


def unreachable() -> ToolError:
    """Return the error about a server that does not answer, or that may not be asked: it does not say which."""
    message = "The MCP server could not be reached. Only servers on the public Internet can be."
    return ToolError(message, reason="unreachable", broken=True)


def elsewhere() -> ToolError:
    """Return the error about a server that would have its requests sent to another."""
    return ToolError("The MCP server redirects to another server.", reason="redirected")


def not_mcp() -> ToolError:
    """Return the error about what is no message of MCP."""
    return ToolError("The MCP server's answer is not valid MCP.", reason="invalid")


def refused(words: str) -> ToolError:
    """Return the error about a request that a server refused in its own words."""
    return ToolError(f"The MCP server refused: {words[:WORDS_LIMIT]}", reason="rpc_error")
