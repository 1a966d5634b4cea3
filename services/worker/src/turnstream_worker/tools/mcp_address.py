"""Where an MCP server is, and as whom it is called."""

import hashlib
from dataclasses import dataclass, field
from typing import Any, Self

import orjson
from yarl import URL

from turnstream.errors import FetchError
from turnstream.guard import web_url
from turnstream_worker.tools.tool import ToolError


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
        if authorization := own.get("authorization"):
            headers["authorization"] = f"Bearer {authorization}"
        try:
            return cls(web_url(server["server_url"]), headers)
        except FetchError as error:
            raise ToolError(f"The MCP server cannot be called. {error.message}", reason=error.reason) from error

    def key(self, tenant: str) -> bytes:
        """Return what is the same for one tenant's calls to one server as one client, and for no others."""
        return hashlib.sha256(orjson.dumps([tenant, str(self.url), sorted(self.headers.items())])).digest()
