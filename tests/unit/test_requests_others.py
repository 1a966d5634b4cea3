"""The bodies of the requests that ask for no response."""

from typing import Any

import pytest
from pydantic import ValidationError
from support.request_bodies import USER

from turnstream_gateway.requests import (
    NEW_ITEMS_LIMIT,
    CountTokens,
    CreateConversation,
    CreateItems,
    Question,
    UpdateConversation,
)


def test_question() -> None:
    """To compact a conversation takes a model and what is to be compacted, and nothing of an answer."""
    body = {"model": "m", "input": "hello", "instructions": "Be brief.", "previous_response_id": "resp_1"}
    assert Question.model_validate(body).parameters() == {"model": "m"}
    with pytest.raises(ValidationError, match="temperature"):
        Question.model_validate({"model": "m", "temperature": 1})


def test_count_tokens() -> None:
    """To count tokens takes what a model reads, and nothing of an answer."""
    read = {"reasoning": {"effort": "low"}, "truncation": "auto", "parallel_tool_calls": False}
    assert CountTokens.model_validate({"model": "m", "input": "x", **read}).parameters() == {"model": "m", **read}
    with pytest.raises(ValidationError, match="max_output_tokens"):
        CountTokens.model_validate({"model": "m", "max_output_tokens": 16})


def test_conversation_body() -> None:
    """A conversation has metadata and up to 20 first items, and nothing else."""
    assert CreateConversation.model_validate({"metadata": {"a": "b"}}).metadata == {"a": "b"}
    assert CreateConversation.model_validate({"items": None}).items == []
    assert len(CreateConversation.model_validate({"items": [USER] * NEW_ITEMS_LIMIT}).items) == NEW_ITEMS_LIMIT
    for refused in ({"items": [USER] * (NEW_ITEMS_LIMIT + 1)}, {"colour": "red"}):
        with pytest.raises(ValidationError):
            CreateConversation.model_validate(refused)


@pytest.mark.parametrize("count", [1, NEW_ITEMS_LIMIT])
def test_new_items_body(count: int) -> None:
    """From 1 to 20 items are put into a conversation at a time."""
    assert len(CreateItems.model_validate({"items": [USER] * count}).items) == count


@pytest.mark.parametrize("body", [{}, {"items": []}, {"items": [USER] * (NEW_ITEMS_LIMIT + 1)}, {"items": "hello"}])
def test_what_are_no_new_items(body: dict[str, Any]) -> None:
    """No items, and too many, are refused."""
    with pytest.raises(ValidationError):
        CreateItems.model_validate(body)


def test_update_body() -> None:
    """Of a conversation, its metadata can be changed."""
    assert UpdateConversation.model_validate({"metadata": {"a": "b"}}).metadata == {"a": "b"}
    with pytest.raises(ValidationError):
        UpdateConversation.model_validate({"items": []})
