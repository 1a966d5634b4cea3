"""The items that a client may send, and the canonical form in which they are stored."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from turnstream.ids import new_id, owner_of
from turnstream_gateway.items import PARTS_LIMIT, InputItem, ItemReference
from turnstream_gateway.tool_items import LISTED_LIMIT

type Item = dict[str, Any]

TEXT = {"type": "input_text", "text": "hello"}
SAID = {"type": "output_text", "text": "hello", "annotations": [], "logprobs": []}
REFUSAL = {"type": "refusal", "refusal": "I will not."}
IMAGE = {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "auto"}
FILE = {"type": "input_file", "filename": "a.pdf", "file_data": "JVBERi0="}
VIDEO = {"type": "input_video", "video_url": "https://example.com/a.mp4"}
URL_CITATION = {"type": "url_citation", "url": "https://example.com", "title": "A", "start_index": 0, "end_index": 5}
FILE_CITATION = {"type": "file_citation", "file_id": "file-1", "filename": "a.pdf", "index": 3}
TOKEN = {"token": "hello", "logprob": -0.5, "bytes": [104], "top_logprobs": []}

OWNER = new_id("resp_")
ITEMS: TypeAdapter[Any] = TypeAdapter(InputItem)


def stored(given: Any) -> Item:
    """Return an item as it is stored, without its new id."""
    item: Item = ITEMS.validate_python(given).item(OWNER)
    return {name: value for name, value in item.items() if name != "id"}


def message(role: str = "user", *content: Any, status: str = "completed") -> Item:
    """Make a stored message, without its id."""
    return {"type": "message", "status": status, "role": role, "content": list(content)}


REASONING = {
    "type": "reasoning",
    "summary": [{"type": "summary_text", "text": "so"}],
    "content": [{"type": "reasoning_text", "text": "hm"}],
    "encrypted_content": "ts1.x",
    "status": "completed",
}
CALL = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}", "status": "completed"}
CUSTOM_CALL = {"type": "custom_tool_call", "call_id": "call_1", "name": "g", "input": "x", "status": "completed"}
OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": "sunny", "status": "completed"}
CUSTOM_OUTPUT = {**OUTPUT, "type": "custom_tool_call_output"}
COMPACTION = {"type": "compaction", "encrypted_content": "ts1.x"}
LISTED = {"name": "search.all", "description": None, "input_schema": {"type": "object", "x": None}, "annotations": None}
LIST = {"type": "mcp_list_tools", "server_label": "wiki", "tools": [LISTED], "error": None}
WANTED = {"server_label": "wiki", "name": "search.all", "arguments": "{}"}
REQUEST = {"type": "mcp_approval_request", **WANTED}
RESPONSE = {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": True, "reason": None}
MCP_CALL = {
    "type": "mcp_call",
    **WANTED,
    "output": "found",
    "error": None,
    "approval_request_id": None,
    "status": "completed",
}
MCP_FAILURE = {**MCP_CALL, "output": None, "status": "failed"}
PAGE = {"type": "url", "url": "https://example.com"}
RESULT = {"url": "https://example.com", "title": "A", "snippet": "a"}
SEARCH = {
    "type": "web_search_call",
    "status": "completed",
    "action": {"type": "search", "query": "a", "queries": ["a"], "sources": [PAGE]},
    "results": [RESULT],
}
# Every kind of item, in its canonical form.
CANONICAL = [
    message("user", TEXT, IMAGE, FILE, VIDEO),
    message("user", {"type": "input_file", "file_url": "https://example.com/a.pdf"}),
    message("system", TEXT),
    message("developer", TEXT, TEXT),
    message("assistant", SAID, REFUSAL),
    message("assistant", {**SAID, "annotations": [URL_CITATION, FILE_CITATION], "logprobs": [TOKEN]}),
    message("assistant"),
    {**message("assistant", SAID, status="incomplete"), "phase": "commentary"},
    REASONING,
    {**REASONING, "status": "incomplete", "content": [], "summary": []},
    CALL,
    OUTPUT,
    {**OUTPUT, "output": [TEXT, IMAGE, FILE, VIDEO]},
    CUSTOM_CALL,
    CUSTOM_OUTPUT,
    COMPACTION,
    LIST,
    {**LIST, "tools": [], "error": "away"},
    MCP_CALL,
    {**MCP_CALL, "approval_request_id": "mcpr_1"},
    {**MCP_FAILURE, "error": "away"},
    {**MCP_FAILURE, "error": {"type": "mcp_tool_execution_error", "content": [{"type": "text", "text": "no"}]}},
    {**MCP_FAILURE, "error": {"type": "mcp_protocol_error", "code": -32602, "message": "no"}},
    {**MCP_FAILURE, "error": {"type": "http_error", "code": 500, "message": "no"}},
    REQUEST,
    RESPONSE,
    {**RESPONSE, "approve": False, "reason": "too dear"},
    SEARCH,
    {**SEARCH, "results": [RESULT, {"text": "a page and another"}]},
    {"type": "web_search_call", "status": "failed", "action": {"type": "search"}, "error": "away"},
    {"type": "web_search_call", "status": "completed", "action": {"type": "open_page"}},
    {"type": "web_search_call", "status": "completed", "action": {**PAGE, "type": "find_in_page", "pattern": "a"}},
    {"type": "web_search_call", "status": "completed"},
]


@pytest.mark.parametrize("item", CANONICAL)
def test_canonical_item(item: Item) -> None:
    """An item that is stored is taken as an input and stored the same: a client may keep the conversation itself."""
    assert stored(item) == item
    assert stored({**item, "id": "theirs"}) == item


@pytest.mark.parametrize("item", CANONICAL)
def test_nulls_are_left_out(item: Item) -> None:
    """A null stands for a field that was left out, since SDKs send items back with all the fields that they know."""
    assert stored({**item, "id": None}) == item
    optional = {"status": None, "phase": None} if item.get("role") == "assistant" else {"status": None}
    if item.get("status") == "completed":
        assert stored({**item, **optional}) == item


@pytest.mark.parametrize(
    "given",
    [
        {"role": "user", "content": "hello"},
        {"content": "hello", "role": "user", "type": None},
        {"type": "message", "role": "user", "content": [TEXT]},
        {"role": "user", "content": [{"type": "text", "text": "hello"}]},
        {"role": "user", "content": [SAID]},
        {"role": "user", "content": [{"type": "output_text", "text": "hello", "annotations": [{"type": "any"}]}]},
    ],
)
@pytest.mark.parametrize("role", ["user", "system", "developer"])
def test_text_becomes_a_message(given: Item, role: str) -> None:
    """However a client says it, a text is one message with one part; what is not the assistant's is input."""
    assert stored({**given, "role": role}) == message(role, TEXT)


@pytest.mark.parametrize(
    "content",
    ["hello", [{"type": "text", "text": "hello"}], [TEXT], [{"type": "output_text", "text": "hello"}]],
)
def test_what_the_assistant_said(content: Any) -> None:
    """What the assistant said is output text, with the lists that the specification requires."""
    assert stored({"role": "assistant", "content": content}) == message("assistant", SAID)


@pytest.mark.parametrize("detail", [{}, {"detail": None}, {"detail": "auto"}, {"detail": "low"}])
def test_detail_of_an_image(detail: dict[str, Any]) -> None:
    """An image is shown in the detail that is said, and where nothing is said the model chooses."""
    bare = {"type": "input_image", "image_url": "data:image/png;base64,AA=="}
    [part] = stored({"role": "user", "content": [{**bare, **detail}]})["content"]
    assert part == {**bare, "detail": detail.get("detail") or "auto"}


def test_reasoning_of_the_specification() -> None:
    """Reasoning comes back with a summary, and with its text or without."""
    given: Item = {"type": "reasoning", "id": "rs_1", "summary": [], "content": None, "encrypted_content": None}
    assert stored(given) == {"type": "reasoning", "summary": [], "content": [], "status": "completed"}


@pytest.mark.parametrize("item", [*CANONICAL, {"role": "user", "content": ""}])
def test_items_get_ids_of_their_own(item: Item) -> None:
    """Every item gets a new id that leads back to its owner, so that no two items of a conversation share one."""
    parsed = ITEMS.validate_python({**item, "id": "msg_same"})
    ids = {parsed.item(OWNER)["id"] for _ in range(10)}
    assert len(ids) == 10
    assert {owner_of(made, "resp_") for made in ids} == {OWNER}


@pytest.mark.parametrize(
    ("item", "prefix"),
    [
        (message("user", TEXT), "msg_"),
        (REASONING, "rs_"),
        (CALL, "fc_"),
        (OUTPUT, "fco_"),
        (CUSTOM_CALL, "ctc_"),
        (CUSTOM_OUTPUT, "ctco_"),
        (COMPACTION, "cmp_"),
        (LIST, "mcpl_"),
        (MCP_CALL, "mcp_"),
        (REQUEST, "mcpr_"),
        (RESPONSE, "mcpa_"),
        (SEARCH, "ws_"),
    ],
)
def test_prefixes(item: Item, prefix: str) -> None:
    """An item's id begins with what its kind is called."""
    assert ITEMS.validate_python(item).item(OWNER)["id"].startswith(prefix)


@pytest.mark.parametrize(
    "given", [{"type": "item_reference", "id": "msg_1"}, {"id": "msg_1"}, {"id": "msg_1", "type": None}]
)
def test_reference(given: Item) -> None:
    """An id alone refers to an item that is stored already."""
    assert ITEMS.validate_python(given) == ItemReference(id="msg_1")


REFUSED: list[Any] = [
    # What is no item
    None,
    "hello",
    5,
    [],
    {},
    {"type": 5},
    {"type": "song"},
    {"type": "file_search_call", "id": "fs_1", "status": "completed"},
    {"type": ["message"], "role": "user", "content": "x"},
    # Of a server's tools
    {**LIST, "tools": None},
    {**LIST, "tools": [{"name": "x"}]},
    {**LIST, "tools": [LISTED] * (LISTED_LIMIT + 1)},
    {**LIST, "server_label": "no blanks"},
    {**MCP_CALL, "status": "done"},
    {**MCP_CALL, "arguments": {}},
    {**MCP_CALL, "error": {"type": "song"}},
    {**REQUEST, "name": ""},
    {**REQUEST, "status": "completed"},
    {**RESPONSE, "approve": "yes"},
    {**RESPONSE, "approval_request_id": "no.dots"},
    {"type": "mcp_approval_response", "approve": True},
    {**SEARCH, "action": {"type": "sing"}},
    {**SEARCH, "action": {"type": "find_in_page", "pattern": "a"}},
    {**SEARCH, "results": [{"url": "https://example.com"}]},
    {**SEARCH, "results": [RESULT] * (LISTED_LIMIT + 1)},
    # Messages
    {"role": "user"},
    {"content": "x"},
    {"role": "nobody", "content": "x"},
    {"role": ["user"], "content": "x"},
    {"role": "user", "content": 5},
    {"role": "user", "content": []},
    {"role": "user", "content": ["hello"]},
    {"role": "user", "content": [TEXT] * (PARTS_LIMIT + 1)},
    {"role": "assistant", "content": [SAID] * (PARTS_LIMIT + 1)},
    {"role": "user", "content": "x", "status": "done"},
    {"role": "user", "content": "x", "phase": "commentary"},
    {"role": "assistant", "content": "x", "phase": "thinking"},
    # Parts
    {"role": "user", "content": [{"type": "song"}]},
    {"role": "user", "content": [{"type": "input_text"}]},
    {"role": "user", "content": [{"type": "input_text", "text": 5}]},
    {"role": "user", "content": [REFUSAL]},
    {"role": "system", "content": [IMAGE]},
    {"role": "developer", "content": [FILE]},
    {"role": "assistant", "content": [IMAGE]},
    {"role": "user", "content": [{"type": "input_image"}]},
    {"role": "user", "content": [{"type": "input_image", "file_id": "file-1"}]},
    {"role": "user", "content": [{"type": "input_image", "image_url": ""}]},
    {"role": "user", "content": [{**IMAGE, "detail": "huge"}]},
    {"role": "user", "content": [{"type": "input_file"}]},
    {"role": "user", "content": [{"type": "input_file", "filename": "a.pdf"}]},
    {"role": "user", "content": [{**FILE, "file_url": "https://example.com"}]},
    {"role": "user", "content": [{**FILE, "file_id": "file-1"}]},
    {"role": "user", "content": [{**FILE, "filename": "x" * 257}]},
    {"role": "user", "content": [{"type": "input_video"}]},
    {"role": "assistant", "content": [{**SAID, "annotations": [{"type": "x"}]}]},
    {"role": "assistant", "content": [{**SAID, "annotations": [{**URL_CITATION, "start_index": -1}]}]},
    # Reasoning
    {"type": "reasoning"},
    {"type": "reasoning", "summary": "so"},
    {"type": "reasoning", "summary": [TEXT]},
    {"type": "reasoning", "summary": [], "content": [TEXT]},
    # Calls and their outputs
    {"type": "function_call", "name": "f", "arguments": ""},
    {"type": "function_call", "call_id": "c", "arguments": ""},
    {"type": "function_call", "call_id": "c", "name": "f"},
    {"type": "function_call", "call_id": "", "name": "f", "arguments": ""},
    {"type": "function_call", "call_id": "x" * 129, "name": "f", "arguments": ""},
    {"type": "function_call", "call_id": "c", "name": "no blanks", "arguments": ""},
    {"type": "function_call", "call_id": "c", "name": "f", "arguments": {}},
    {"type": "custom_tool_call", "call_id": "c", "name": "g"},
    {"type": "custom_tool_call", "call_id": "c", "name": "g", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "c"},
    {"type": "function_call_output", "output": "x"},
    {"type": "function_call_output", "call_id": "c", "output": 5},
    {"type": "function_call_output", "call_id": "c", "output": []},
    {"type": "function_call_output", "call_id": "c", "output": [SAID | {"type": "song"}]},
    {"type": "custom_tool_call_output", "call_id": "c", "output": [REFUSAL]},
    # The rest
    {"type": "compaction"},
    {"type": "compaction", "encrypted_content": ""},
    {"type": "item_reference"},
    {"type": "item_reference", "id": "no.dots"},
    {"type": "item_reference", "id": "x" * 65},
    {"id": 5},
]


@pytest.mark.parametrize("given", REFUSED, ids=repr)
def test_what_is_no_item(given: Any) -> None:
    """An item that could not be read as it is meant is refused, never bent."""
    with pytest.raises(ValidationError):
        ITEMS.validate_python(given)


@pytest.mark.parametrize("item", [*CANONICAL, {"type": "item_reference", "id": "msg_1"}])
def test_unknown_field_is_refused(item: Item) -> None:
    """A field that an item does not have is refused, and so is one of its parts: nothing is dropped."""
    fields = [field for field in ("content", "summary", "output") if isinstance(item.get(field), list) and item[field]]
    in_parts = [{**item, field: [{**item[field][0], "colour": "red"}]} for field in fields]
    for given in ({**item, "colour": "red"}, *in_parts):
        with pytest.raises(ValidationError, match="colour"):
            ITEMS.validate_python(given)
