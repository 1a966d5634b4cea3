"""How messages reach an MCP server, in either of the ways that servers know."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, Protocol

import aiohttp
from yarl import URL

from turnstream.errors import FetchError
from turnstream.guard import web_url
from turnstream_worker.tools.json_rpc import not_mcp
from turnstream_worker.tools.tool import ToolError

REDIRECTS_LIMIT = 5
EVENTS = "text/event-stream"
JSON = "application/json"

_VERSIONS = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
INITIALIZE_LIMIT = 256 << 10  # bytes of its answer
# A POST stays one behind these alone.
_KEEP_THE_METHOD = frozenset({HTTPStatus.TEMPORARY_REDIRECT, HTTPStatus.PERMANENT_REDIRECT})


@dataclass(frozen=True, slots=True)
class Question:
    """A request, and how long and how large its answer may be."""

    method: str
    params: dict[str, Any]
    patience: float  # seconds
    limit: int  # bytes
    key: str | None = None  # of a call: its idempotency key, which stands in its `_meta` as well

    def headers(self) -> dict[str, str]:
        """Return the headers by which what stands before a server may know a call."""
        return {"idempotency-key": self.key} if self.key else {}


class Transport(Protocol):
    """A way to ask a server."""

    async def ask(self, question: Question) -> Any:
        """Return a request's result; raise ToolError.

        A request that is given up before its answer came is taken back.
        """

    async def close(self) -> None:
        """Tell the server that no more will be asked."""


@asynccontextmanager
async def sent(
    http: aiohttp.ClientSession, method: str, url: URL, headers: dict[str, str], body: bytes | None = None
) -> AsyncIterator[aiohttp.ClientResponse]:
    """Send a request and yield its answer; redirects are followed as long as they stay with the server.

    Headers and body are meant for that server alone. Raises ToolError if it cannot be reached, redirects elsewhere, or
    breaks off.
    """
    for _ in range(REDIRECTS_LIMIT + 1):
        with connected():
            async with http.request(method, url, headers=headers, data=body, allow_redirects=False) as response:
                if response.status not in _KEEP_THE_METHOD or "Location" not in response.headers:
                    yield response
                    return
                url = _within_origin(url, response.headers["Location"])
    raise ToolError(f"The MCP server redirects more than {REDIRECTS_LIMIT} times.", reason="too_many_redirects")


@contextmanager
def connected() -> Iterator[None]:
    """Raise what goes wrong with a connection as ToolError."""
    try:
        yield
    except aiohttp.ClientConnectorError as error:
        raise unreachable() from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        message = "The connection to the MCP server broke before it answered."
        raise ToolError(message, reason="broken", broken=True) from error


def check_status(response: aiohttp.ClientResponse) -> None:
    """Raise ToolError if an answer's status is not one of success."""
    if response.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        message = f"The MCP server refused the credentials: it answered with HTTP status {response.status}."
        raise ToolError(message, reason="bad_status")
    if not HTTPStatus(200) <= response.status < HTTPStatus(300):
        raise ToolError(f"The MCP server answered with HTTP status {response.status}.", reason="bad_status")


def introduction() -> dict[str, Any]:
    """Return what a server is told of us to begin with."""
    client = {"name": "turnstream", "version": version("turnstream-worker")}
    return {"protocolVersion": _VERSIONS[0], "capabilities": {}, "clientInfo": client}


def agreed_version(result: Any) -> str:
    """Return the protocol's version that a server chose; raise ToolError if it is none of ours."""
    chosen = result.get("protocolVersion") if isinstance(result, dict) else None
    if chosen not in _VERSIONS:
        raise not_mcp()
    return str(chosen)


def unreachable() -> ToolError:
    """Return the error about a server that does not answer, or that may not be asked: it does not say which."""
    message = "The MCP server could not be reached. Only servers on the public Internet can be."
    return ToolError(message, reason="unreachable", broken=True)


def late(patience: float) -> ToolError:
    """Return the error about a server that took too long."""
    return ToolError(f"The MCP server did not answer within {patience:g} seconds.", reason="timeout")


def _within_origin(url: URL, location: str) -> URL:
    try:
        target = web_url(location, base=url)
    except FetchError as error:
        raise _elsewhere() from error
    if target.origin() != url.origin():
        raise _elsewhere()
    return target


def _elsewhere() -> ToolError:
    return ToolError("The MCP server redirects to another server.", reason="redirected")
