"""A turn as the API shows it."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from support.turns import a_turn

from turnstream.turns import Conversation, Status, Turn, response_resource

# Every field that the Open Responses specification requires of a response, with what a bare turn shows.
REQUIRED = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1767225600,
    "completed_at": None,
    "status": "in_progress",
    "incomplete_details": None,
    "model": "m",
    "previous_response_id": None,
    "instructions": None,
    "output": [],
    "error": None,
    "tools": [],
    "tool_choice": "auto",
    "truncation": "disabled",
    "parallel_tool_calls": True,
    "text": {"format": {"type": "text"}},
    "top_p": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "top_logprobs": 0,
    "temperature": 1.0,
    "reasoning": None,
    "usage": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "store": True,
    "background": False,
    "service_tier": "default",
    "metadata": {},
    "safety_identifier": None,
    "prompt_cache_key": None,
}
# What OpenAI's API and Llama Stack's show besides.
BESIDES = {"conversation": None, "prompt": None, "user": None}


def shown(request: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """Return a turn that asked for something as the API shows it."""
    return response_resource(replace(a_turn(), request={"model": "m", **(request or {})}, **fields))


def test_bare_response() -> None:
    """A response has every field that the specification requires, with the values that hold by default."""
    assert shown() == REQUIRED | BESIDES


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("instructions", "Be brief."),
        ("instructions", [{"type": "message", "role": "developer", "content": []}]),
        ("prompt", {"id": "pmpt_1", "version": "2", "variables": None}),
        ("tools", [{"type": "function", "name": "f", "description": None, "parameters": None, "strict": None}]),
        ("tool_choice", {"type": "function", "name": "f"}),
        ("parallel_tool_calls", False),
        ("max_output_tokens", 16),
        ("max_tool_calls", 1),
        ("temperature", 0),
        ("top_p", 0),
        ("top_logprobs", 3),
        ("presence_penalty", -1),
        ("frequency_penalty", 1),
        ("text", {"format": {"type": "json_object"}, "verbosity": "low"}),
        ("truncation", "auto"),
        ("metadata", {"a": "b"}),
        ("user", "u"),
        ("safety_identifier", "s"),
        ("prompt_cache_key", "p"),
        ("background", True),
        ("store", False),
    ],
)
def test_parameters_are_repeated(name: str, value: Any) -> None:
    """A response repeats what was asked for."""
    assert shown({name: value}) == REQUIRED | BESIDES | {name: value}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, {"effort": None, "summary": None}),
        ({"effort": "low"}, {"effort": "low", "summary": None}),
        ({"effort": "low", "summary": "auto"}, {"effort": "low", "summary": "auto"}),
    ],
)
def test_reasoning(asked: dict[str, Any], expected: dict[str, Any]) -> None:
    """What was asked about reasoning is shown with both of its fields, which the specification requires."""
    assert shown({"reasoning": asked})["reasoning"] == expected


@pytest.mark.parametrize(
    "inner", ["provider", "include", "prompt_items", "stream_options", "context_management", "max_infer_iters"]
)
def test_what_is_not_repeated(inner: str) -> None:
    """What only the worker needs to know is not shown."""
    assert shown({inner: "x"}) == REQUIRED | BESIDES


def test_ended_response() -> None:
    """A response that has ended shows how, and what it came to."""
    outcome: dict[str, Any] = {
        "output": [{"type": "message", "id": "msg_1"}],
        "usage": {"total_tokens": 3},
        "error": {"code": "server_error", "message": "No."},
        "incomplete": {"reason": "max_output_tokens"},
        "service_tier": "flex",
    }
    response = shown(status="failed", completed_at=datetime(2026, 1, 2, tzinfo=UTC), **outcome)
    assert {name: response[name] for name in ("status", "completed_at")} == {
        "status": "failed",
        "completed_at": 1767312000,
    }
    assert response["incomplete_details"] == outcome.pop("incomplete")
    assert {name: response[name] for name in outcome} == outcome


def test_past() -> None:
    """A response names what it went on from: its conversation as an object, or the response before it."""
    assert shown(conversation="conv_1")["conversation"] == {"id": "conv_1"}
    assert shown(previous="resp_0")["previous_response_id"] == "resp_0"


@pytest.mark.parametrize(
    ("status", "expected", "ended"),
    [
        ("queued", "queued", False),
        ("running", "in_progress", False),
        ("completed", "completed", True),
        ("failed", "failed", True),
        ("incomplete", "incomplete", True),
        ("cancelled", "cancelled", True),
    ],
)
def test_status(status: Status, expected: str, ended: bool) -> None:
    """A status is shown by the specification's name, and is final or not."""
    turn: Turn = replace(a_turn(), status=status)
    assert response_resource(turn)["status"] == expected
    assert turn.ended == ended


def test_beginnings() -> None:
    """A turn that was handed over has not failed by it: it was begun as often as it was claimed, but for those."""
    assert replace(a_turn(attempt=5), handovers=2).beginnings == 3


def test_conversation() -> None:
    """A conversation is shown with the second in which it was made."""
    made = Conversation("conv_1", "default", {"a": "b"}, datetime(2026, 1, 1, microsecond=5, tzinfo=UTC))
    expected = {"id": "conv_1", "object": "conversation", "created_at": 1767225600, "metadata": {"a": "b"}}
    assert made.resource() == expected
