"""The tools that a client offers to a model, and how the model is to choose among them."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, StringConstraints

from turnstream.errors import InvalidRequestError
from turnstream_gateway.bodies import Name, Strict

TOOLS_LIMIT = 128


class FunctionTool(Strict):
    """A function that the client runs itself."""

    type: Literal["function"]
    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


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


type Tool = Annotated[FunctionTool | CustomTool, Discriminator("type")]
type Tools = Annotated[list[Tool], Field(max_length=TOOLS_LIMIT, fail_fast=True)]


class NamedTool(Strict):
    """One tool, by its name."""

    type: Literal["function", "custom"]
    name: Name


class AllowedTools(Strict):
    """Some of the tools: the model may call these, or must call one of them."""

    type: Literal["allowed_tools"]
    mode: Literal["none", "auto", "required"] = "auto"
    tools: Annotated[list[NamedTool], Field(min_length=1, max_length=TOOLS_LIMIT)]


type Mode = Literal["none", "auto", "required"]
type ToolChoice = Mode | Annotated[NamedTool | AllowedTools, Discriminator("type")]


def check_tools(tools: Tools, choice: ToolChoice | None) -> None:
    """Raise InvalidRequestError if two tools have one name, or the choice is not among them."""
    names = [tool.name for tool in tools]
    if double := next((name for name in names if names.count(name) > 1), None):
        raise InvalidRequestError(f"Two tools are called '{double}'.", code="invalid_value", param="tools")
    if choice == "required" and not tools:
        raise _bad_choice("'required' needs a tool to call: 'tools' has none.")
    chosen = choice.tools if isinstance(choice, AllowedTools) else [choice] if isinstance(choice, NamedTool) else []
    known = {(tool.type, tool.name) for tool in tools}
    if unknown := next((tool for tool in chosen if (tool.type, tool.name) not in known), None):
        raise _bad_choice(f"There is no {unknown.type} tool called '{unknown.name}' in 'tools'.")


def _bad_choice(message: str) -> InvalidRequestError:
    return InvalidRequestError(message, code="invalid_value", param="tool_choice")
