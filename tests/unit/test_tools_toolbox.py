"""Which tools a turn's model may call, by which names, and with whose approval."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from turnstream_worker.settings import WorkerSettings
from turnstream_worker.tools.names import unique_names
from turnstream_worker.tools.policy import is_allowed, needs_approval, on_uncertain
from turnstream_worker.tools.tools import Tools


@pytest.fixture
async def tools() -> AsyncIterator[Tools]:
    """Tools with the settings that a worker has by default."""
    made = Tools(WorkerSettings(nats_url="nats://nobody", postgres_dsn="postgresql://nobody"))
    yield made
    await made.close()


def listed(name: str, **annotations: bool) -> dict[str, Any]:
    """Return a tool as a server lists it."""
    return {"name": name, "description": None, "input_schema": {"type": "object"}, "annotations": annotations or None}


def asked(label: str, **fields: Any) -> dict[str, Any]:
    """Return a request's tool."""
    return {"type": "mcp", "server_label": label, "server_url": "https://example.com/mcp", **fields}


async def test_toolbox(tools: Tools) -> None:
    """A toolbox holds what the worker runs, as functions of a chat completion, and leaves the client's own out."""
    request = [
        {"type": "function", "name": "mine"},
        asked("shop", allowed_tools=["search"], require_approval={"never": {"tool_names": ["search"]}}),
        asked("bank", on_uncertain="ask"),
        {"type": "web_search"},
    ]
    lists = {"shop": [listed("search", readOnlyHint=True), listed("buy")], "bank": [listed("pay"), listed("search")]}
    box = tools.toolbox(request, lists, {"mine", "pay"}, {}, "tenant")
    assert list(box) == ["shop__search", "bank__pay", "bank__search", "web_search"]
    assert all(name == tool.name == tool.definition["name"] for name, tool in box.items())
    assert box["shop__search"].shown == {"server_label": "shop", "name": "search"}
    assert box["shop__search"].definition["parameters"] == {"type": "object"}
    assert [tool.needs_approval for tool in box.values()] == [False, True, True, False]
    assert [tool.on_uncertain for tool in box.values()] == ["retry", "ask", "ask", "retry"]
    assert [tool.kind for tool in box.values()] == ["mcp_call"] * 3 + ["web_search_call"]
    assert box == tools.toolbox(request, lists, {"mine", "pay"}, {}, "tenant")


@pytest.mark.parametrize(
    ("offered", "taken", "names"),
    [
        ([("a", "x"), ("b", "y")], set(), ["x", "y"]),
        ([("a", "x"), ("b", "x")], set(), ["a__x", "b__x"]),
        ([("a", "x"), ("a", "x")], set(), ["a__x", "a__x_2"]),
        ([("a", "x")], {"x"}, ["a__x"]),
        ([("a", "x")], {"x", "a__x"}, ["a__x_2"]),
        ([("a", "x.y/z")], set(), ["x_y_z"]),
        ([("a b", "x.y"), ("c", "x_y")], set(), ["a_b__x_y", "c__x_y"]),
        ([("a", "x" * 100)], set(), ["x" * 64]),
        ([("a", "x" * 100)], {"x" * 64}, ["a__" + "x" * 61]),
        ([("a", "x" * 100), ("a", "x" * 101)], set(), ["a__" + "x" * 61, "a__" + "x" * 59 + "_2"]),
    ],
)
def test_names(offered: list[tuple[str, str]], taken: set[str], names: list[str]) -> None:
    """Each tool has a name of its own, which its server's label tells apart where that is needed."""
    assert unique_names(offered, taken) == names


@pytest.mark.parametrize(
    ("allowed", "names"),
    [
        (None, ["read", "write"]),
        ([], []),
        (["read", "unknown"], ["read"]),
        ({"tool_names": ["write"]}, ["write"]),
        ({"read_only": True}, ["read"]),
        ({"read_only": False}, ["write"]),
        ({"tool_names": ["write"], "read_only": True}, []),
        ({"tool_names": None, "read_only": None}, ["read", "write"]),
    ],
)
def test_allowed_tools(allowed: Any, names: list[str]) -> None:
    """A request may leave out tools by name, or by what they say of themselves."""
    both = [listed("read", readOnlyHint=True), listed("write", readOnlyHint=False)]
    assert [tool["name"] for tool in both if is_allowed(tool, allowed)] == names


@pytest.mark.parametrize(
    ("required", "by_default", "otherwise"),
    [
        (None, True, False),
        ("always", True, True),
        ("never", False, False),
        ({"never": {"tool_names": ["pay"]}}, False, False),
        ({"never": {"tool_names": ["other"]}}, True, False),
        ({"always": {"tool_names": ["pay"]}}, True, True),
        ({"always": {"tool_names": ["pay"]}, "never": {"tool_names": ["pay"]}}, True, True),
        ({"always": None, "never": {"read_only": True}}, True, False),
    ],
)
def test_approval(required: Any, by_default: bool, otherwise: bool) -> None:
    """A tool needs approval as the request says, and where it says nothing of it by default."""
    assert needs_approval(listed("pay"), required, default=True) == by_default
    assert needs_approval(listed("pay"), required, default=False) == otherwise


@pytest.mark.parametrize(
    ("annotations", "policy"),
    [
        ({}, "fail"),
        ({"readOnlyHint": True}, "retry"),
        ({"idempotentHint": True}, "retry"),
        ({"readOnlyHint": False, "destructiveHint": True}, "fail"),
    ],
)
def test_uncertain_calls(annotations: dict[str, bool], policy: str) -> None:
    """A call that may have run is run again only where that does no harm, or where the request says so."""
    assert on_uncertain(listed("x", **annotations), None) == policy
    assert on_uncertain(listed("x", **annotations), "ask") == "ask"
