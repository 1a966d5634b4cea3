"""What /openapi.json shows of a response's tools."""

from typing import Annotated, Any, Literal

from pydantic import Field

from turnstream_gateway.resource_items import Resource


class FunctionToolResource(Resource):
    """A function that the client runs itself."""

    type: Literal["function"]
    name: str
    description: str | None
    parameters: dict[str, Any] | None
    strict: bool | None


class TextFormatResource(Resource):
    """Text in no particular form."""

    type: Literal["text"]


class GrammarFormatResource(Resource):
    """Text of a grammar."""

    type: Literal["grammar"]
    syntax: Literal["lark", "regex"]
    definition: str


class CustomToolResource(Resource):
    """A tool that the client runs itself and that takes text."""

    type: Literal["custom"]
    name: str
    description: str | None
    format: Annotated[TextFormatResource | GrammarFormatResource, Field(discriminator="type")] | None


class ToolFilterResource(Resource):
    """Which of a server's tools are meant: those of these names, and those that say whether they only read."""

    tool_names: list[str] | None
    read_only: bool | None


class ApprovalFilterResource(Resource):
    """Which of a server's tools are called only once that was approved, and which without asking."""

    always: ToolFilterResource | None
    never: ToolFilterResource | None


class McpToolResource(Resource):
    """The tools of an MCP server. The headers and the authorization that came with it are never shown."""

    type: Literal["mcp"]
    server_label: str
    server_url: str | None
    connector_id: str | None
    server_description: str | None
    allowed_tools: list[str] | ToolFilterResource | None
    require_approval: Literal["always", "never"] | ApprovalFilterResource | None
    on_uncertain: Literal["retry", "fail", "ask"] | None


class UserLocationResource(Resource):
    """About where the user is."""

    type: Literal["approximate"]
    city: str | None
    country: str | None
    region: str | None
    timezone: str | None


class SearchFiltersResource(Resource):
    """Which pages are looked for."""

    allowed_domains: list[str] | None


class WebSearchToolResource(Resource):
    """A search of the web."""

    type: Literal["web_search"]
    search_context_size: Literal["low", "medium", "high"]
    user_location: UserLocationResource | None
    filters: SearchFiltersResource | None


class NamedToolResource(Resource):
    """One tool, by its name."""

    type: Literal["function", "custom"]
    name: str


class McpChoiceResource(Resource):
    """The tools of an MCP server, or one of them."""

    type: Literal["mcp"]
    server_label: str
    name: str | None = None


class WebSearchChoiceResource(Resource):
    """The search of the web."""

    type: Literal["web_search"]


class AllowedToolsResource(Resource):
    """Those of the tools that the model may call."""

    type: Literal["allowed_tools"]
    mode: Literal["none", "auto", "required"]
    tools: list[Annotated[NamedToolResource | McpChoiceResource | WebSearchChoiceResource, Field(discriminator="type")]]
