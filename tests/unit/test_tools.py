"""The tools that a client offers to a model, and how the model is to choose among them."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from turnstream.errors import InvalidRequestError
from turnstream_gateway.tools import TOOLS_LIMIT, ToolChoice, Tools, check_tools

FUNCTION = {"type": "function", "name": "f"}
CUSTOM = {"type": "custom", "name": "g"}
GRAMMAR = {"type": "grammar", "syntax": "lark", "definition": "start: /a/"}

TOOLS: TypeAdapter[Any] = TypeAdapter(Tools)
CHOICE: TypeAdapter[Any] = TypeAdapter(ToolChoice)


def allowed(*tools: dict[str, Any], **mode: str) -> dict[str, Any]:
    """Make a choice of some tools."""
    return {"type": "allowed_tools", "tools": list(tools), **mode}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (FUNCTION, {"description": None, "parameters": None, "strict": None}),
        ({**FUNCTION, "strict": None}, {"description": None, "parameters": None, "strict": None}),
        ({**FUNCTION, "description": "d", "parameters": {"type": "object", "x": None}, "strict": False}, {}),
        (CUSTOM, {"description": None, "format": None}),
        ({**CUSTOM, "description": "d", "format": {"type": "text"}}, {}),
        ({**CUSTOM, "description": "d", "format": GRAMMAR}, {}),
        ({**CUSTOM, "description": "d", "format": {**GRAMMAR, "syntax": "regex"}}, {}),
    ],
)
def test_tool(given: dict[str, Any], kept: dict[str, Any]) -> None:
    """A tool is kept as it was given, with null for what was left out."""
    [tool] = TOOLS.validate_python([given])
    assert tool.model_dump() == {**given, **kept}


@pytest.mark.parametrize(
    "given",
    [
        {"type": "web_search"},
        {"name": "f"},
        {"type": "function"},
        {"type": "function", "name": ""},
        {"type": "function", "name": "no.dots"},
        {"type": "function", "name": "x" * 65},
        {**FUNCTION, "parameters": "none"},
        {**FUNCTION, "strict": "perhaps"},
        {**FUNCTION, "format": {"type": "text"}},
        {"type": "custom", "name": "no blanks"},
        {**CUSTOM, "parameters": {}},
        {**CUSTOM, "format": "text"},
        {**CUSTOM, "format": {"type": "json"}},
        {**CUSTOM, "format": {**GRAMMAR, "syntax": "bnf"}},
        {**CUSTOM, "format": {**GRAMMAR, "definition": ""}},
        {**CUSTOM, "format": {"type": "text", "syntax": "lark"}},
    ],
)
def test_what_is_no_tool(given: dict[str, Any]) -> None:
    """What is no tool is refused, and so is a tool of a kind that nobody here runs."""
    with pytest.raises(ValidationError):
        TOOLS.validate_python([given])


def test_number_of_tools() -> None:
    """There may be so many tools, and no more."""
    tools = [{"type": "function", "name": f"f{number}"} for number in range(TOOLS_LIMIT + 1)]
    assert len(TOOLS.validate_python(tools[:-1])) == TOOLS_LIMIT
    with pytest.raises(ValidationError):
        TOOLS.validate_python(tools)


@pytest.mark.parametrize(
    "choice",
    [
        None,
        "none",
        "auto",
        "required",
        FUNCTION,
        CUSTOM,
        allowed(FUNCTION),
        allowed(CUSTOM, FUNCTION, mode="required"),
        allowed(FUNCTION, mode="none"),
    ],
)
def test_choice(choice: Any) -> None:
    """A choice is a mode, one tool or some of the tools."""
    check_tools(TOOLS.validate_python([FUNCTION, CUSTOM]), choice and CHOICE.validate_python(choice))


@pytest.mark.parametrize("choice", [None, "none", "auto"])
def test_choice_without_tools(choice: Any) -> None:
    """A model without tools is free to call none."""
    check_tools([], choice)


@pytest.mark.parametrize(
    "given",
    [
        "perhaps",
        5,
        {},
        {"type": "function"},
        {"type": "web_search"},
        {**FUNCTION, "mode": "auto"},
        allowed(),
        allowed(*[FUNCTION] * (TOOLS_LIMIT + 1)),
        allowed({"type": "web_search", "name": "x"}),
        allowed(FUNCTION, mode="perhaps"),
    ],
)
def test_what_is_no_choice(given: Any) -> None:
    """Nothing else is a choice."""
    with pytest.raises(ValidationError):
        CHOICE.validate_python(given)


@pytest.mark.parametrize(
    ("tools", "choice"),
    [
        ([], "required"),
        ([], FUNCTION),
        ([FUNCTION], {"type": "function", "name": "h"}),
        ([FUNCTION], {"type": "custom", "name": "f"}),
        ([CUSTOM], {"type": "function", "name": "g"}),
        ([FUNCTION], allowed(FUNCTION, CUSTOM)),
    ],
)
def test_choice_of_what_is_not_there(tools: list[Any], choice: Any) -> None:
    """A model cannot be made to call what it is not offered: a choice names tools that are there, by their kind."""
    with pytest.raises(InvalidRequestError) as refused:
        check_tools(TOOLS.validate_python(tools), CHOICE.validate_python(choice))
    assert (refused.value.code, refused.value.param) == ("invalid_value", "tool_choice")


def test_two_tools_of_one_name() -> None:
    """Two tools cannot share a name, whatever their kinds: nobody could tell which one is called."""
    for tools in ([FUNCTION, FUNCTION], [FUNCTION, {"type": "custom", "name": "f"}]):
        with pytest.raises(InvalidRequestError, match="'f'") as refused:
            check_tools(TOOLS.validate_python(tools), None)
        assert (refused.value.code, refused.value.param) == ("invalid_value", "tools")
