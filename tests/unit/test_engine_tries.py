"""When the engine asks the model again."""

from typing import Any

import pytest
from support.engine import ANSWER, engine, failure, refused, run, tokens
from support.scripted_stack import ScriptedStack, called, delta, piece, said, thought, used

pytestmark = pytest.mark.usefixtures("no_pause_between_tries")


async def test_provider_that_says_to_try_again() -> None:
    """A model is asked again, the same, when its provider says that this may help."""
    stack = ScriptedStack([refused()], [refused()], [*ANSWER])
    ran = await run(engine(stack, model_tries=3))
    assert ran.outcome.output[0]["content"][0]["text"] == "hi"
    assert stack.requests == [stack.requests[0]] * 3


@pytest.mark.parametrize("tries", [1, 2, 4])
async def test_tries_are_bounded(tries: int) -> None:
    """A model is asked so often, and no more."""
    stack = ScriptedStack(*[[refused()] for _ in range(tries)])
    assert await failure(engine(stack, model_tries=tries)) == "rate_limit_exceeded"
    assert len(stack.requests) == tries


async def test_provider_that_does_not_say_to_try_again() -> None:
    """A model whose provider does not say that another try may help is not asked again."""
    stack = ScriptedStack([refused("server_error", None)])
    assert await failure(engine(stack)) == "server_error"
    assert len(stack.requests) == 1


@pytest.mark.parametrize("shown", [said("he"), thought("hm"), delta(refusal="I")])
async def test_nothing_is_shown_twice(shown: Any) -> None:
    """A model that has said something that was shown is not asked again: the client would see another answer begin."""
    stack = ScriptedStack([shown, refused()])
    assert await failure(engine(stack), truncation="auto") == "rate_limit_exceeded"
    assert len(stack.requests) == 1


async def test_asking_again_after_nothing_was_shown() -> None:
    """What was not shown yet, as a call, is given up for the next try's, and its tokens are counted all the same."""
    call = called(piece(0, "{}", call="a", name="f"))
    stack = ScriptedStack([delta(role="assistant", content=""), call, used(5, 1), refused()], [call, used(5, 2)])
    ran = await run(engine(stack))
    assert ran.kinds == ["function_call"]
    assert tokens(ran) == (10, 3)
