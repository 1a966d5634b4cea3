"""Items of a conversation become the messages of a chat completion."""

from typing import Any

import pytest

from turnstream_worker.messages import chat_messages, chat_tool_choice, chat_tools


def said(role: str, *texts: str) -> dict[str, Any]:
    """Make a message's item."""
    return {"type": "message", "id": "msg_1", "role": role, "content": [{"type": "x", "text": text} for text in texts]}


def call(number: int) -> dict[str, Any]:
    """Make a function call's item."""
    return {"type": "function_call", "id": "fc_1", "call_id": f"call_{number}", "name": "f", "arguments": "{}"}


def called(*numbers: int) -> list[dict[str, Any]]:
    """Make the calls as a chat completion has them."""
    function = {"name": "f", "arguments": "{}"}
    return [{"id": f"call_{number}", "type": "function", "function": function} for number in numbers]


def returned(number: int, output: Any) -> dict[str, Any]:
    """Make a function call output's item."""
    return {"type": "function_call_output", "id": "fco_1", "call_id": f"call_{number}", "output": output}


def test_instructions_come_first() -> None:
    """Instructions are the first message; without them there is none for the system."""
    assert chat_messages("Be brief.", [said("user", "hello")]) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hello"},
    ]
    assert chat_messages(None, []) == []


@pytest.mark.parametrize(
    ("given", "expected"),
    [("user", "user"), ("assistant", "assistant"), ("system", "system"), ("developer", "system")],
)
def test_roles(given: str, expected: str) -> None:
    """Each role is one that providers know."""
    assert chat_messages(None, [said(given, "x")]) == [{"role": expected, "content": "x"}]


def test_parts_are_joined() -> None:
    """The parts of a message are one text."""
    assert chat_messages(None, [said("user", "a", "b")])[0]["content"] == "ab"


def test_calls_made_together_stand_together() -> None:
    """Calls in a row belong to one message, and to that of the text before them if there is one."""
    items = [said("user", "?"), said("assistant", "let me see"), call(1), call(2), returned(1, "a"), returned(2, "b")]
    assert chat_messages(None, items)[1:] == [
        {"role": "assistant", "content": "let me see", "tool_calls": called(1, 2)},
        {"role": "tool", "tool_call_id": "call_1", "content": "a"},
        {"role": "tool", "tool_call_id": "call_2", "content": "b"},
    ]


def test_calls_one_after_another_stand_apart() -> None:
    """A call that follows an output is a message of its own."""
    items = [call(1), returned(1, "a"), call(2)]
    first, _, second = chat_messages(None, items)
    assert first == {"role": "assistant", "content": None, "tool_calls": called(1)}
    assert second == {"role": "assistant", "content": None, "tool_calls": called(2)}


def test_output_in_parts() -> None:
    """A function's output in parts is one text."""
    parts = [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]
    assert chat_messages(None, [returned(1, parts)])[0]["content"] == "ab"


def test_items_are_left_as_they_are() -> None:
    """Making messages of items changes none of them: they are stored again later."""
    items = [said("assistant", "a"), call(1)]
    chat_messages(None, items)
    assert items == [said("assistant", "a"), call(1)]


def test_tools() -> None:
    """A tool is the function that it holds; what is null is left out, which providers take for set."""
    parameters = {"type": "object"}
    tool = {"type": "function", "name": "f", "description": None, "parameters": parameters, "strict": False}
    function = {"name": "f", "parameters": parameters, "strict": False}
    assert chat_tools([tool]) == [{"type": "function", "function": function}]


def test_tool_choice() -> None:
    """A choice is a word, or a function by its name."""
    assert chat_tool_choice("required") == "required"
    assert chat_tool_choice({"type": "function", "name": "f"}) == {"type": "function", "function": {"name": "f"}}
