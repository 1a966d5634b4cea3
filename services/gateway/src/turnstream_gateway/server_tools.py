"""The tools that a server runs: what a client says of them. What must stay secret of it is never among what is kept."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, HttpUrl, StringConstraints, TypeAdapter, model_validator

from turnstream.errors import InvalidRequestError
from turnstream_gateway.bodies import Name, Strict

NAMES_LIMIT = 256  # names of a server's tools in one list
HEADERS_LIMIT = 32  # headers for one server
HEADER_VALUE_LIMIT = 8192  # characters of a header's value, and of an authorization
DOMAINS_LIMIT = 100  # domains that a search may be held to

# RFC 9110: sections 5.6.2 (a token) and 5.5 (a value, as far as all servers take it).
_HEADER_NAME = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$"
_HEADER_VALUE = r"^([!-~]([\t -~]*[!-~])?)?$"
# What belongs to the connection, or to how MCP is spoken over it, and is not a client's to set.
_OWN_HEADERS = {
    *("host", "content-length", "content-type", "content-encoding", "accept", "accept-encoding", "expect"),
    *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection"),
    *("te", "trailer", "transfer-encoding", "upgrade"),
    *("mcp-session-id", "mcp-protocol-version", "last-event-id"),
}
_URL: TypeAdapter[HttpUrl] = TypeAdapter(HttpUrl)

type ToolName = Annotated[str, StringConstraints(min_length=1, max_length=128)]  # as its server calls it
type ToolNames = Annotated[list[ToolName], Field(max_length=NAMES_LIMIT, fail_fast=True)]
type HeaderName = Annotated[str, StringConstraints(pattern=_HEADER_NAME)]
type HeaderValue = Annotated[str, StringConstraints(pattern=_HEADER_VALUE, max_length=HEADER_VALUE_LIMIT)]


def _without_credentials(value: str) -> str:
    """Return a URL in its canonical form; raise ValueError for one that holds what is to be kept secret."""
    url = _URL.validate_python(value)
    if url.username or url.password:
        raise ValueError("a user or a password in it would be shown: send them as 'authorization' or 'headers'")
    return str(url)


def _settable(headers: dict[str, str]) -> dict[str, str]:
    """Return headers; raise ValueError for one that is not a client's to set, or that is there twice."""
    names = [name.lower() for name in headers]
    if own := next((name for name in names if name in _OWN_HEADERS), None):
        raise ValueError(f"the header '{own}' is not for a client to set")
    if double := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"the header '{double}' is there twice")
    return headers


type Authorization = Annotated[str, StringConstraints(pattern=r"^[!-~]+$", max_length=HEADER_VALUE_LIMIT)]
type ServerUrl = Annotated[str, StringConstraints(min_length=1), AfterValidator(_without_credentials)]
type Headers = Annotated[dict[HeaderName, HeaderValue], Field(max_length=HEADERS_LIMIT), AfterValidator(_settable)]


class ToolFilter(Strict):
    """Which of a server's tools are meant: those of these names, and those that say whether they only read."""

    tool_names: ToolNames | None = None
    read_only: bool | None = None


def _as_filter(value: Any) -> Any:
    return {"tool_names": value} if isinstance(value, list) else value


# llama-stack-client sends the names alone.
type NamesOrFilter = Annotated[ToolFilter, BeforeValidator(_as_filter, json_schema_input_type=ToolNames | ToolFilter)]


class ApprovalFilter(Strict):
    """Which of a server's tools are called only once that was approved, and which without asking."""

    always: NamesOrFilter | None = None
    never: NamesOrFilter | None = None

    @model_validator(mode="after")
    def _clear(self) -> Self:
        always, never = (set(found.tool_names or ()) if found else set() for found in (self.always, self.never))
        if both := sorted(always & never):
            message = f"The tool '{both[0]}' cannot be approved both always and never."
            raise InvalidRequestError(message, code="invalid_value", param="tools")
        return self


class McpTool(Strict):
    """The tools of an MCP server, which is at a URL or is one that the operator has registered.

    `on_uncertain` says what becomes of a call that was begun when its worker died, so that nobody knows whether it took
    effect. `headers` and `authorization` are in no dump: see `secrets`.
    """

    type: Literal["mcp"]
    server_label: Name
    server_url: ServerUrl | None = None
    connector_id: Name | None = None
    server_description: Annotated[str, StringConstraints(max_length=4096)] | None = None
    headers: Annotated[Headers | None, Field(exclude=True, repr=False)] = None
    authorization: Annotated[Authorization | None, Field(exclude=True, repr=False)] = None
    allowed_tools: ToolNames | ToolFilter | None = None
    require_approval: Literal["always", "never"] | ApprovalFilter | None = None
    on_uncertain: Literal["retry", "fail", "ask"] | None = None

    @model_validator(mode="after")
    def _one_server(self) -> Self:
        if (self.server_url is None) == (self.connector_id is None):
            raise ValueError("it takes one of 'server_url' and 'connector_id'")
        if self.authorization and any(name.lower() == "authorization" for name in self.headers or ()):
            raise ValueError("it takes one of 'authorization' and a header of that name")
        return self

    @property
    def called(self) -> str:
        """What a choice names it by."""
        return self.server_label

    @property
    def secrets(self) -> dict[str, Any]:
        """What its server is sent and nobody else may see; empty if there is nothing."""
        given = {"headers": self.headers, "authorization": self.authorization}
        return {name: value for name, value in given.items() if value}


# OpenAI's names for the tool at several times, kept by the first one.
type WebSearchType = Annotated[
    Literal["web_search", "web_search_2025_08_26", "web_search_preview", "web_search_preview_2025_03_11"],
    AfterValidator(lambda _: "web_search"),
]
type Place = Annotated[str, StringConstraints(max_length=256)]
type Domain = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,253}$", to_lower=True)]


class UserLocation(Strict):
    """About where the user is."""

    type: Literal["approximate"] = "approximate"
    city: Place | None = None
    country: Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{2}$", to_upper=True)] | None = None  # ISO 3166-1
    region: Place | None = None
    timezone: Place | None = None  # IANA's name


class SearchFilters(Strict):
    """Which pages are looked for: those of these domains and of all below them."""

    allowed_domains: Annotated[list[Domain], Field(max_length=DOMAINS_LIMIT, fail_fast=True)] | None = None


class WebSearchTool(Strict):
    """A search of the web."""

    type: WebSearchType
    search_context_size: Literal["low", "medium", "high"] = "medium"
    user_location: UserLocation | None = None
    filters: SearchFilters | None = None

    @property
    def called(self) -> str:
        """What a model calls it by."""
        return self.type
