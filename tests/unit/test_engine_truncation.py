"""How the engine truncates a conversation that is too long for the model."""

from typing import Any

import pytest
from support.engine import ANSWER, engine, exchanges, failure, read, refused, run, too_long
from support.scripted_stack import ScriptedStack

from turnstream_worker.model_calls import TRUNCATIONS

pytestmark = pytest.mark.usefixtures("no_pause_between_tries")


async def test_conversation_is_truncated_until_it_fits() -> None:
    """A conversation that is too long loses more of its middle with each try, until the model takes it."""
    stack = ScriptedStack([too_long()], [too_long()], [*ANSWER])
    ran = await run(engine(stack, model_tries=1), exchanges(20), instructions="Be brief.", truncation="auto")
    assert ran.outcome.status == "completed"
    lengths = [len(read(stack, place)) for place in range(3)]
    assert lengths == sorted(set(lengths), reverse=True)
    assert read(stack)[:3] == ["Be brief.", "question 0", "answer 0"]
    assert read(stack)[-3:] == ["question 19", "answer 19", "hello"]


@pytest.mark.parametrize("asked", [{}, {"truncation": "disabled"}])
async def test_conversation_that_must_stay_whole(asked: dict[str, Any]) -> None:
    """A conversation is truncated only where that is asked for; else the client is told that it is too long."""
    stack = ScriptedStack([too_long()])
    assert await failure(engine(stack), exchanges(20), **asked) == "context_length_exceeded"
    assert len(stack.requests) == 1


async def test_nothing_left_to_truncate() -> None:
    """A conversation that has no middle left is too long."""
    stack = ScriptedStack([too_long()], [too_long()])
    assert await failure(engine(stack), exchanges(2), truncation="auto") == "context_length_exceeded"
    assert read(stack) == ["question 0", "answer 0", "hello"]


async def test_truncations_are_bounded() -> None:
    """A model that takes no conversation at all is asked so often and no more."""
    stack = ScriptedStack(*[[too_long()] for _ in range(TRUNCATIONS + 1)])
    assert await failure(engine(stack), exchanges(500), truncation="auto") == "context_length_exceeded"
    assert len(stack.requests) == TRUNCATIONS + 1


async def test_tries_and_truncations_are_counted_apart() -> None:
    """A provider that is busy between two truncations takes none of them away."""
    stack = ScriptedStack([too_long()], [refused()], [too_long()], [*ANSWER])
    ran = await run(engine(stack, model_tries=2), exchanges(20), truncation="auto")
    assert ran.outcome.status == "completed"
    assert read(stack, 1) == read(stack, 2)
