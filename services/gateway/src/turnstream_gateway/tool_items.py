"""The items of tools that a server runs, as a client may send them back, and the form in which they are stored."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, StringConstraints

from turnstream.ids import is_item_id, item_id
from turnstream.turns import Item
from turnstream_gateway.bodies import Id, Name, Strict
from turnstream_gateway.server_tools import ToolName

LISTED_LIMIT = 1000  # tools in a server's list, and results and sources of a search

type Url = Annotated[str, StringConstraints(min_length=1, max_length=8192)]


# MCP


class ListedTool(Strict):
    """A tool as its server describes it."""

    name: ToolName
    description: str | None = None
    input_schema: dict[str, Any]
    annotations: dict[str, Any] | None = None


class McpListTools(Strict):
    """What tools a server had."""

    type: Literal["mcp_list_tools"]
    id: str | None = None
    server_label: Name
    tools: Annotated[list[ListedTool], Field(max_length=LISTED_LIMIT, fail_fast=True)]
    error: str | None = None

    def item(self, owner: str) -> Item:
        """Return it as it is stored with its owner: a turn or a conversation."""
        return {**self.model_dump(), "id": item_id("mcpl_", owner)}


class McpToolError(Strict):
    """A tool's own word that it has failed."""

    type: Literal["mcp_tool_execution_error"]
    content: Any = None


class McpProtocolError(Strict):
    """A server's refusal of a call, or a failure on the way to it."""

    type: Literal["mcp_protocol_error", "http_error"]
    code: int
    message: str


type McpError = Annotated[McpToolError | McpProtocolError, Discriminator("type")]


class McpCall(Strict):
    """A call of a server's tool, with what came of it."""

    type: Literal["mcp_call"]
    id: str | None = None
    server_label: Name
    name: ToolName
    arguments: str
    output: str | None = None
    error: str | McpError | None = None  # a text is Llama Stack's way
    approval_request_id: Id | None = None
    status: Literal["in_progress", "calling", "completed", "incomplete", "failed"] = "completed"

    def item(self, owner: str) -> Item:
        """Return it as it is stored."""
        return {**self.model_dump(), "id": item_id("mcp_", owner)}


class McpApprovalRequest(Strict):
    """A call that is made once its client approves of it."""

    type: Literal["mcp_approval_request"]
    id: str | None = None
    server_label: Name
    name: ToolName
    arguments: str

    def item(self, owner: str) -> Item:
        """Return it as it is stored: under the id that it was asked under here, since what is asked is allowed once."""
        known = self.id if self.id and is_item_id(self.id, "mcpr_") else None
        return {**self.model_dump(), "id": known or item_id("mcpr_", owner)}


class McpApprovalResponse(Strict):
    """Whether a client approves of a call."""

    type: Literal["mcp_approval_response"]
    id: str | None = None
    approval_request_id: Id
    approve: bool
    reason: str | None = None

    def item(self, owner: str) -> Item:
        """Return it as it is stored."""
        return {**self.model_dump(), "id": item_id("mcpa_", owner)}


# Web search


class Source(Strict):
    """A page that a search has found."""

    type: Literal["url"] = "url"
    url: Url


class Search(Strict):
    """The model looked for pages."""

    type: Literal["search"]
    query: str | None = None
    queries: Annotated[list[str], Field(max_length=LISTED_LIMIT, fail_fast=True)] | None = None
    sources: Annotated[list[Source], Field(max_length=LISTED_LIMIT, fail_fast=True)] | None = None


class OpenPage(Strict):
    """The model opened a page."""

    type: Literal["open_page"]
    url: Url | None = None


class FindInPage(Strict):
    """The model looked for a text in a page."""

    type: Literal["find_in_page"]
    url: Url
    pattern: str


class SearchResult(Strict):
    """A page that a search has found, with what the model reads of it."""

    url: Url
    title: str
    snippet: str


class FoundText(Strict):
    """What a search has found, where it does not tell one page from another."""

    text: str


class WebSearchCall(Strict):
    """A search of the web. Llama Stack's have no action; only ours have results, or an error."""

    type: Literal["web_search_call"]
    id: str | None = None
    status: Literal["in_progress", "searching", "completed", "failed", "incomplete"] = "completed"
    action: Annotated[Search | OpenPage | FindInPage, Discriminator("type")] | None = None
    results: Annotated[list[SearchResult | FoundText], Field(max_length=LISTED_LIMIT, fail_fast=True)] | None = None
    error: str | None = None

    def item(self, owner: str) -> Item:
        """Return it as it is stored: what was left out stays out, where to have it shown has to be asked for."""
        return {**self.model_dump(exclude_none=True), "id": item_id("ws_", owner)}
