"""The operator's own tools: how they are registered, described, run and bounded."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError
from support import operator_tools

from turnstream_worker.settings import WorkerSettings
from turnstream_worker.tools.tool import Tool, ToolError, ToolResult
from turnstream_worker.tools.tools import Tools

ASKED = {"type": "mcp", "server_label": "ours", "connector_id": "python"}
SETTINGS = {"nats_url": "nats://nobody", "postgres_dsn": "postgresql://nobody"}

type NewTools = Callable[..., Tools]


def entry(function: str, **more: Any) -> dict[str, Any]:
    """Register a function under its own name."""
    return {"name": function, "call": f"support.operator_tools:{function}", **more}


@pytest.fixture
async def new_tools(tmp_path: Path) -> AsyncIterator[NewTools]:
    """Make tools of a file's entries, and close them."""
    made: list[Tools] = []

    def new(*entries: dict[str, Any], **settings: Any) -> Tools:
        path = tmp_path / "tools.yaml"
        path.write_text(yaml.safe_dump({"tools": list(entries)}))
        made.append(Tools(WorkerSettings.model_validate({**SETTINGS, "tools_yaml": path, **settings})))
        return made[-1]

    yield new
    operator_tools.held.set()
    for tools in made:
        await tools.close()


async def toolbox(tools: Tools, **asked: Any) -> dict[str, Tool]:
    """Return the operator's tools as a client asks for them."""
    tool = {**ASKED, **asked}
    return tools.toolbox([tool], {"ours": await tools.list_tools(tool, {}, "tenant")}, set(), {}, "tenant")


async def test_schema(new_tools: NewTools) -> None:
    """A function's signature is its schema, and its docstring its description."""
    [listed] = await new_tools(entry("add")).list_tools(ASKED, {}, "tenant")
    assert (listed["name"], listed["description"]) == ("add", "Add two numbers.")
    schema = listed["input_schema"]
    assert (schema["type"], schema["required"], schema["additionalProperties"]) == ("object", ["a"], False)
    assert schema["properties"]["b"] == {"description": "the other one", "title": "B", "type": "integer"}


async def test_calls(new_tools: NewTools) -> None:
    """A function that is async runs on the loop, another in a thread, and each one's result is text or JSON."""
    tools = await toolbox(new_tools(entry("add"), entry("greet"), entry("charge")))
    operator_tools.on_loop.clear()
    assert await tools["add"].call({"a": 1}, "key") == ToolResult("2")
    assert await tools["greet"].call({"name": "Ada"}, "key") == ToolResult("a warm welcome to Ada")
    assert operator_tools.on_loop == [False, True]
    assert await tools["charge"].call({"order": {"item": "tea"}}, "key-1") == ToolResult(
        '{"item":"tea","count":1,"key":"key-1"}'
    )


async def test_idempotency_key_is_not_the_models(new_tools: NewTools) -> None:
    """A function's idempotency key stands in no schema, and cannot be given as an argument."""
    tools = await toolbox(new_tools(entry("charge")))
    assert "idempotency_key" not in tools["charge"].definition["parameters"]["properties"]
    given = await tools["charge"].call({"order": {"item": "tea"}, "idempotency_key": "mine"}, "key")
    assert given.failed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "Invalid argument 'a': Field required."),
        (
            {"a": "secret"},
            "Invalid argument 'a': Input should be a valid integer, unable to parse string as an integer.",
        ),
        ({"a": 1, "c": 2}, "Invalid argument 'c': Extra inputs are not permitted."),
    ],
)
async def test_arguments(new_tools: NewTools, arguments: dict[str, Any], message: str) -> None:
    """Arguments that a function does not take are told to the model."""
    tools = await toolbox(new_tools(entry("add")))
    assert await tools["add"].call(arguments, "key") == ToolResult(message, failed=True)


async def test_failures(new_tools: NewTools, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """What a function says in a ToolError is told; what else it raises is not, and not logged either."""
    tools = await toolbox(new_tools(entry("refuse"), entry("crash"), entry("give_up"), entry("secretive")))
    assert await tools["refuse"].call({}, "key") == ToolResult("there is no such order", failed=True)
    assert await tools["crash"].call({"with_message": "secret"}, "key") == ToolResult("The tool failed.", failed=True)
    assert await tools["give_up"].call({}, "key") == ToolResult("The tool failed.", failed=True)
    assert await tools["secretive"].call({}, "key") == ToolResult("The tool returned what is not JSON.", failed=True)
    logged = capfdbinary.readouterr().out
    assert b'"RuntimeError"' in logged
    assert b"secret" not in logged


@pytest.mark.parametrize("function", ["break_off", "break_off_in_thread", "leave"])
async def test_functions_that_end_more_than_their_call(new_tools: NewTools, function: str) -> None:
    """A function that raises what would cancel the turn, or end the process, has failed like any other."""
    tools = await toolbox(new_tools(entry(function)))
    assert await tools[function].call({}, "key") == ToolResult("The tool failed.", failed=True)


async def test_limits(new_tools: NewTools) -> None:
    """A function may take only so long, and return only so much."""
    tools = await toolbox(new_tools(entry("hang"), entry("hold"), entry("repeat"), tool_timeout=0.1, tool_output=10))
    late = ToolResult("The tool did not answer within 0.1 seconds.", failed=True)
    operator_tools.held.clear()
    assert [await tools["hang"].call({}, "key"), await tools["hold"].call({}, "key")] == [late, late]
    assert await tools["repeat"].call({"text": "é", "times": 5}, "key") == ToolResult("é" * 5)
    assert (await tools["repeat"].call({"text": "é", "times": 6}, "key")).failed


async def test_cancelled_call(new_tools: NewTools) -> None:
    """A call that is cancelled is so at once, though its thread goes on."""
    tools = await toolbox(new_tools(entry("hold")))
    operator_tools.held.clear()
    call = asyncio.create_task(tools["hold"].call({}, "key"))
    await asyncio.sleep(0)
    call.cancel()
    await asyncio.wait([call], timeout=1)
    assert call.cancelled()


async def test_policies(new_tools: NewTools) -> None:
    """The operator says what needs approval and what may be run again; a client may ask for more approval, not less."""
    tools = new_tools(entry("add", on_uncertain="retry"), entry("charge", needs_approval=True))
    asked = await toolbox(tools)
    assert [(tool.on_uncertain, tool.needs_approval) for tool in asked.values()] == [("retry", False), ("fail", True)]
    asked = await toolbox(tools, require_approval="never", on_uncertain="ask")
    assert [(tool.on_uncertain, tool.needs_approval) for tool in asked.values()] == [("ask", False), ("ask", True)]
    asked = await toolbox(tools, require_approval="always", allowed_tools=["add"])
    assert {name: tool.needs_approval for name, tool in asked.items()} == {"add": True}
    assert asked["add"].shown == {"server_label": "ours", "name": "add"}
    assert asked["add"].kind == "mcp_call"


async def test_tool_that_was_removed(new_tools: NewTools) -> None:
    """A tool that was listed before, and is no longer registered, is not offered."""
    listed = await new_tools(entry("add"), entry("charge")).list_tools(ASKED, {}, "tenant")
    left = new_tools(entry("add")).toolbox([ASKED], {"ours": listed}, set(), {}, "tenant")
    assert list(left) == ["add"]


async def test_unknown_connector(new_tools: NewTools) -> None:
    """A connector that there is not is named."""
    with pytest.raises(ToolError, match="There is no connector 'connector_gmail' here"):
        await new_tools().list_tools({**ASKED, "connector_id": "connector_gmail"}, {}, "tenant")


@pytest.mark.parametrize(
    ("entries", "error"),
    [
        ([entry("add"), entry("add")], ValueError),
        ([entry("missing")], AttributeError),
        ([{"name": "add", "call": "support.missing:add"}], ModuleNotFoundError),
        ([{"name": "add", "call": "support.operator_tools.add"}], ValidationError),
        ([entry("add", name="a b")], ValidationError),
        ([entry("add", on_uncertain="again")], ValidationError),
        ([entry("add", approval=True)], ValidationError),
        ([entry("positional")], TypeError),
    ],
)
async def test_what_is_wrong_with_the_file(
    new_tools: NewTools, entries: list[dict[str, Any]], error: type[Exception]
) -> None:
    """A worker does not start with a file of tools that is wrong."""
    with pytest.raises(error):
        new_tools(*entries)
