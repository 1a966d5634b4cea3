"""The tools that a client offers to a model, and how the model is to choose among them."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from turnstream.errors import InvalidRequestError
from turnstream_gateway.server_tools import DOMAINS_LIMIT, HEADER_VALUE_LIMIT, HEADERS_LIMIT, NAMES_LIMIT
from turnstream_gateway.tools import TOOLS_LIMIT, ToolChoice, Tools, check_tools

FUNCTION = {"type": "function", "name": "f"}
CUSTOM = {"type": "custom", "name": "g"}
GRAMMAR = {"type": "grammar", "syntax": "lark", "definition": "start: /a/"}
MCP = {"type": "mcp", "server_label": "wiki", "server_url": "https://wiki.example/mcp"}
CONNECTOR = {"type": "mcp", "server_label": "run", "connector_id": "python"}
SEARCH = {"type": "web_search"}
SEARCH_TYPES = ["web_search", "web_search_2025_08_26", "web_search_preview", "web_search_preview_2025_03_11"]
# What a tool is kept with where a client leaves it out.
BARE_MCP = {
    "server_url": None,
    "connector_id": None,
    "server_description": None,
    "allowed_tools": None,
    "require_approval": None,
    "on_uncertain": None,
}
BARE_SEARCH = {"search_context_size": "medium", "user_location": None, "filters": None}

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
        (MCP, {**BARE_MCP, "server_url": MCP["server_url"]}),
        (CONNECTOR, {**BARE_MCP, "connector_id": "python"}),
        (
            {
                **MCP,
                "server_description": "d",
                "allowed_tools": ["a"],
                "require_approval": "never",
                "on_uncertain": "ask",
            },
            {"connector_id": None},
        ),
        (
            {
                **BARE_MCP,
                **MCP,
                "allowed_tools": {"tool_names": ["a"], "read_only": True},
                "require_approval": {"always": {"tool_names": ["a"], "read_only": None}, "never": None},
            },
            {},
        ),
        (SEARCH, BARE_SEARCH),
        (
            {**SEARCH, "search_context_size": "low", "filters": {"allowed_domains": ["example.com"]}},
            {"user_location": None},
        ),
    ],
)
def test_tool(given: dict[str, Any], kept: dict[str, Any]) -> None:
    """A tool is kept as it was given, with null for what was left out."""
    [tool] = TOOLS.validate_python([given])
    assert tool.model_dump() == {**given, **kept}


@pytest.mark.parametrize(
    "given",
    [
        {"type": "code_interpreter"},
        {"type": ["file_search"]},
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
        {"type": "mcp", "server_label": "wiki"},
        {"type": "mcp", "server_url": "https://wiki.example"},
        {**MCP, "connector_id": "python"},
        {**MCP, "server_label": "no blanks"},
        {**CONNECTOR, "connector_id": "no.dots"},
        {**MCP, "server_url": ""},
        {**MCP, "server_url": "wiki.example"},
        {**MCP, "server_url": "ftp://wiki.example"},
        {**MCP, "server_url": "https://wiki.example:99999"},
        {**MCP, "server_url": "https://me@wiki.example"},
        {**MCP, "server_url": "https://me:hush@wiki.example"},
        {**MCP, "server_url": f"https://wiki.example/{'x' * 2100}"},
        {**MCP, "server_description": "x" * 4097},
        {**MCP, "headers": {"": "x"}},
        {**MCP, "headers": {"no blanks": "x"}},
        {**MCP, "headers": {"x:": "x"}},
        {**MCP, "headers": {"x": "a\r\nhost: b"}},
        {**MCP, "headers": {"x": " a"}},
        {**MCP, "headers": {"x": "ä"}},
        {**MCP, "headers": {"x": 5}},
        {**MCP, "headers": {"x": None}},
        {**MCP, "headers": {"x": "x" * (HEADER_VALUE_LIMIT + 1)}},
        {**MCP, "headers": {f"x-{number}": "x" for number in range(HEADERS_LIMIT + 1)}},
        {**MCP, "headers": {"X-Key": "a", "x-key": "b"}},
        *({**MCP, "headers": {name: "x"}} for name in ("Host", "content-length", "Connection", "Mcp-Session-Id")),
        {**MCP, "headers": {"Authorization": "Bearer a"}, "authorization": "a"},
        {**MCP, "authorization": ""},
        {**MCP, "authorization": "a b"},
        {**MCP, "authorization": "x" * (HEADER_VALUE_LIMIT + 1)},
        {**MCP, "allowed_tools": [""]},
        {**MCP, "allowed_tools": ["x"] * (NAMES_LIMIT + 1)},
        {**MCP, "allowed_tools": {"names": ["x"]}},
        {**MCP, "allowed_tools": "all"},
        {**MCP, "require_approval": "sometimes"},
        {**MCP, "require_approval": {"sometimes": ["x"]}},
        {**MCP, "on_uncertain": "hope"},
        {**MCP, "tunnel_id": "x"},
        {**SEARCH, "search_context_size": "huge"},
        {**SEARCH, "user_location": {"type": "exact"}},
        {**SEARCH, "user_location": {"country": "Germany"}},
        {**SEARCH, "filters": {"allowed_domains": ["https://example.com"]}},
        {**SEARCH, "filters": {"allowed_domains": ["example.com"] * (DOMAINS_LIMIT + 1)}},
        {**SEARCH, "external_web_access": False},
    ],
)
def test_what_is_no_tool(given: dict[str, Any]) -> None:
    """What is no tool is refused, and so is a tool of a kind that nobody here runs."""
    with pytest.raises(ValidationError):
        TOOLS.validate_python([given])


@pytest.mark.parametrize(
    "given", [[{"type": "file_search", "vector_store_ids": ["vs_1"]}], [FUNCTION, {"type": "file_search"}]]
)
def test_what_is_not_there(given: list[Any]) -> None:
    """A tool that OpenAI's API has and nothing here runs is refused with what is missing for it."""
    with pytest.raises(ValidationError, match="knowledge service"):
        TOOLS.validate_python(given)
    with pytest.raises(ValidationError, match="knowledge service"):
        CHOICE.validate_python({"type": "file_search"})


@pytest.mark.parametrize(
    "url", ["https://Wiki.example/mcp", "https://wiki.example:443/mcp", "\thttps://wiki.example/mcp"]
)
def test_url_in_its_canonical_form(url: str) -> None:
    """What is kept of a server's URL is what whoever connects to it will understand by it."""
    [tool] = TOOLS.validate_python([{**MCP, "server_url": url}])
    assert tool.model_dump()["server_url"] == "https://wiki.example/mcp"


@pytest.mark.parametrize("kind", SEARCH_TYPES)
def test_names_of_the_search(kind: str) -> None:
    """A search of the web has had several names, and is kept by one, as is the choice of it."""
    [tool] = TOOLS.validate_python([{"type": kind}])
    assert tool.model_dump() == {**SEARCH, **BARE_SEARCH}
    choice = CHOICE.validate_python({"type": kind})
    check_tools([tool], choice)
    assert choice.model_dump() == SEARCH


def test_search_is_kept_in_one_form() -> None:
    """Countries and domains are kept as everybody writes them."""
    given = {**SEARCH, "user_location": {"country": "de"}, "filters": {"allowed_domains": ["Example.COM"]}}
    kept = TOOLS.validate_python([given])[0].model_dump()
    assert kept["user_location"]["country"] == "DE"
    assert kept["filters"] == {"allowed_domains": ["example.com"]}


def test_secrets_of_a_server() -> None:
    """What is for a server alone is kept apart, and is in nothing that is kept or printed of the tool."""
    headers = {"X-Key": "hush", "x-empty": ""}
    [tool] = TOOLS.validate_python([{**MCP, "headers": headers, "authorization": "hush-hush"}])
    assert tool.secrets == {"headers": headers, "authorization": "hush-hush"}
    assert "hush" not in repr(tool) + tool.model_dump_json()
    assert TOOLS.validate_python([{**MCP, "headers": {"Authorization": "Basic hush"}}])[0].secrets
    nothing: list[dict[str, Any]] = [{}, {"headers": {}}, {"headers": None, "authorization": None}]
    for without in nothing:
        assert TOOLS.validate_python([{**MCP, **without}])[0].secrets == {}


def test_approval_of_names_alone() -> None:
    """llama-stack-client's way to say which calls are to be approved is kept as OpenAI's."""
    [tool] = TOOLS.validate_python([{**MCP, "require_approval": {"always": ["a"], "never": []}}])
    assert tool.model_dump()["require_approval"] == {
        "always": {"tool_names": ["a"], "read_only": None},
        "never": {"tool_names": [], "read_only": None},
    }


def test_approval_both_ways() -> None:
    """A tool cannot need an approval always and never."""
    both = {"always": {"tool_names": ["a", "b"]}, "never": {"tool_names": ["b"]}}
    with pytest.raises(InvalidRequestError, match="'b'"):
        TOOLS.validate_python([{**MCP, "require_approval": both}])


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
        {"type": "mcp", "server_label": "wiki"},
        {"type": "mcp", "server_label": "wiki", "name": "search"},
        SEARCH,
        allowed({"type": "mcp", "server_label": "wiki", "name": "search"}, SEARCH, FUNCTION),
    ],
)
def test_choice(choice: Any) -> None:
    """A choice is a mode, one tool or some of the tools."""
    tools = TOOLS.validate_python([FUNCTION, CUSTOM, MCP, SEARCH])
    check_tools(tools, choice and CHOICE.validate_python(choice))


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
        {"type": "code_interpreter"},
        {"type": "mcp"},
        {"type": "mcp", "name": "search"},
        {"type": "mcp", "server_label": "no blanks"},
        {"type": "web_search", "name": "x"},
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
        ([FUNCTION], SEARCH),
        ([MCP], {"type": "mcp", "server_label": "other"}),
        ([{**FUNCTION, "name": "wiki"}], {"type": "mcp", "server_label": "wiki"}),
        ([MCP], allowed(SEARCH)),
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


@pytest.mark.parametrize(
    "tools",
    [[MCP, {**CONNECTOR, "server_label": "wiki"}], [SEARCH, SEARCH], [SEARCH, {**FUNCTION, "name": "web_search"}]],
)
def test_two_servers_or_searches_of_one_name(tools: list[Any]) -> None:
    """Neither can two servers share a label, nor can there be two searches of the web, or a function called like it."""
    with pytest.raises(InvalidRequestError, match="called 'w") as refused:
        check_tools(TOOLS.validate_python(tools), None)
    assert (refused.value.code, refused.value.param) == ("invalid_value", "tools")


def test_names_of_a_servers_own() -> None:
    """A server may be called as a function is: its tools have names of their own."""
    check_tools(TOOLS.validate_python([MCP, {**FUNCTION, "name": "wiki"}, {**MCP, "server_label": "wiki-2"}]), None)
