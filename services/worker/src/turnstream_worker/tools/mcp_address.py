"""Where an MCP server is, and as whom it is called."""

import hashlib
from dataclasses import dataclass, field
from typing import Any, Self

import orjson
from yarl import URL

from turnstream.errors import FetchError
from turnstream.guard import web_url
from turnstream_worker.tools.tool import ToolError

# What a client may not set: these say how a message is carried, or are ours to set.
_RESERVED = frozenset(
    {
        "accept",
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "idempotency-key",
        "keep-alive",
        "last-event-id",
        "mcp-protocol-version",
        "mcp-session-id",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


@dataclass(frozen=True, slots=True)
class McpAddress:
    """A server's URL, and the headers that a client has its calls carry."""

    url: URL = field(repr=False)  # its query may be a credential
    headers: dict[str, str] = field(repr=False)

    @classmethod
    def of(cls, server: dict[str, Any], secrets: dict[str, Any]) -> Self:
        """Read the address from a request's tool and its secrets; raise ToolError if it is none."""
        own = secrets.get("tools", {}).get(server["server_label"], {})
        headers = {name.lower(): value for name, value in (own.get("headers") or {}).items()}
        if reserved := sorted(_RESERVED & headers.keys()):
            raise ToolError(f"The header '{reserved[0]}' cannot be set for an MCP server.", reason="bad_header")
        if authorization := own.get("authorization"):
            headers["authorization"] = f"Bearer {authorization}"
        if not all(_is_token(name) and _is_line(value) for name, value in headers.items()):
            raise ToolError("A header for the MCP server is not one of HTTP.", reason="bad_header")
        try:
            return cls(web_url(server["server_url"]), headers)
        except FetchError as error:
            raise ToolError(f"The MCP server cannot be called. {error.message}", reason=error.reason) from error

    def key(self, tenant: str) -> bytes:
        """Return what is the same for one tenant's calls to one server as one client, and for no others."""
        return hashlib.sha256(orjson.dumps([tenant, str(self.url), sorted(self.headers.items())])).digest()


def _is_token(name: str) -> bool:
    """Tell whether something is a header's name (RFC 9110, section 5.6.2)."""
    return name.isascii() and bool(name) and all(letter.isalnum() or letter in "!#$%&'*+-.^_`|~" for letter in name)


def _is_line(value: str) -> bool:
    return value.isprintable()
