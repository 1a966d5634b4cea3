"""The tools that a client offers to a model, and how the model is to choose among them.

A turn keeps the choice as it is chosen here: a mode as a text, and else an object. One tool is
`{"type": "function" | "custom", "name"}`, `{"type": "mcp", "server_label"}` for any tool of a server,
`{"type": "mcp", "server_label", "name"}` for one of them, or `{"type": "web_search"}`; some of them are
`{"type": "allowed_tools", "mode": "none" | "auto" | "required", "tools": [...]}` of these.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, StringConstraints

from turnstream.errors import InvalidRequestError
from turnstream_gateway.bodies import Name, Strict
from turnstream_gateway.server_tools import McpTool, ToolName, WebSearchTool, WebSearchType

TOOLS_LIMIT = 128


class FunctionTool(Strict):
    """A function that the client runs itself."""

    type: Literal["function"]
    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None

    @property
    def called(self) -> str:
        """What a model calls it by."""
        return self.name


class TextFormat(Strict):
    """Any text."""

    type: Literal["text"]


class GrammarFormat(Strict):
    """Text of a grammar, which the model's provider has to hold the model to."""

    type: Literal["grammar"]
    syntax: Literal["lark", "regex"]
    definition: Annotated[str, StringConstraints(min_length=1)]


class CustomTool(Strict):
    """A tool that the client runs itself and that takes text."""

    type: Literal["custom"]
    name: Name
    description: str | None = None
    format: Annotated[TextFormat | GrammarFormat, Discriminator("type")] | None = None

    @property
    def called(self) -> str:
        """What a model calls it by."""
        return self.name


# Tools that OpenAI's API has and this deployment has not, and why. One that comes to be is taken out here and put into
# the unions of tools, choices and their resources.
ABSENT = {"file_search": "the knowledge service, which searches files, is not there"}


def _there(value: Any) -> Any:
    """Raise ValueError for a tool that is known and not there."""
    kind = value.get("type") if isinstance(value, dict) else None
    if isinstance(kind, str) and kind in ABSENT:
        raise ValueError(f"'{kind}' is not available: {ABSENT[kind]}")
    return value


type Tool = Annotated[
    FunctionTool | CustomTool | McpTool | WebSearchTool, Discriminator("type"), BeforeValidator(_there)
]
type Tools = Annotated[list[Tool], Field(max_length=TOOLS_LIMIT, fail_fast=True)]


class NamedTool(Strict):
    """One tool, by its name."""

    type: Literal["function", "custom"]
    name: Name

    @property
    def called(self) -> str:
        """What it is called in `tools`."""
        return self.name


class McpChoice(Strict):
    """The tools of an MCP server, or one of them."""

    type: Literal["mcp"]
    server_label: Name
    name: ToolName | None = None

    @property
    def called(self) -> str:
        """What its server is called in `tools`."""
        return self.server_label


class WebSearchChoice(Strict):
    """The search of the web."""

    type: WebSearchType

    @property
    def called(self) -> str:
        """What it is called in `tools`."""
        return self.type


type OneTool = Annotated[NamedTool | McpChoice | WebSearchChoice, Discriminator("type"), BeforeValidator(_there)]


class AllowedTools(Strict):
    """Some of the tools: the model may call these, or must call one of them."""

    type: Literal["allowed_tools"]
    mode: Literal["none", "auto", "required"] = "auto"
    tools: Annotated[list[OneTool], Field(min_length=1, max_length=TOOLS_LIMIT)]


type Mode = Literal["none", "auto", "required"]
type ToolChoice = Annotated[
    Mode | Annotated[NamedTool | McpChoice | WebSearchChoice | AllowedTools, Discriminator("type")],
    BeforeValidator(_there),
]


def check_tools(tools: Tools, choice: ToolChoice | None) -> None:
    """Raise InvalidRequestError if two tools have one name, or the choice is not among them."""
    names = [tool.called for tool in tools if tool.type != "mcp"]
    if double := _double(names):
        raise InvalidRequestError(f"Two tools are called '{double}'.", code="invalid_value", param="tools")
    # The tools of a server have names of their own, so that only servers must not share one.
    if double := _double([tool.called for tool in tools if tool.type == "mcp"]):
        raise InvalidRequestError(f"Two servers are called '{double}'.", code="invalid_value", param="tools")
    if choice == "required" and not tools:
        raise _bad_choice("'required' needs a tool to call: 'tools' has none.")
    known = {(tool.type, tool.called) for tool in tools}
    if unknown := next((tool for tool in _chosen(choice) if (tool.type, tool.called) not in known), None):
        raise _bad_choice(f"There is no {unknown.type} tool called '{unknown.called}' in 'tools'.")


def _chosen(choice: ToolChoice | None) -> list[NamedTool | McpChoice | WebSearchChoice]:
    match choice:
        case None | str():
            return []
        case AllowedTools(tools=tools):
            return tools
        case _:
            return [choice]


def _double(names: list[str]) -> str | None:
    return next((name for name in names if names.count(name) > 1), None)


def _bad_choice(message: str) -> InvalidRequestError:
    return InvalidRequestError(message, code="invalid_value", param="tool_choice")
