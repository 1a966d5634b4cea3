"""How the engine has tokens counted."""

import pytest
from support.engine import SEALING, Shouted, engine, exchanges, read, refused, turn
from support.scripted_stack import Script, ScriptedStack, finished, said, used

from turnstream.errors import ModelError

pytestmark = pytest.mark.usefixtures("no_pause_between_tries")


async def test_count_tokens() -> None:
    """Tokens are counted by the model's provider, over all that a model would read, and hardly any is written."""
    stack = ScriptedStack([said("x"), finished("length"), used(42, 1)])
    asking = turn(instructions="Be brief.", tools=[], max_output_tokens=500)
    assert await engine(stack, Shouted()).count_tokens(asking, exchanges(1)) == 42
    assert read(stack) == ["BE BRIEF.", "QUESTION 0*", "ANSWER 0*", "HELLO"]
    assert stack.requests[0]["max_tokens"] == 1


@pytest.mark.parametrize("uncounted", [[said("x")], [said("x"), {"usage": None}], [{"usage": {"total_tokens": 3}}]])
async def test_provider_that_does_not_count(uncounted: Script) -> None:
    """A provider that does not count says so: no number is made up."""
    with pytest.raises(ModelError, match="count"):
        await engine(ScriptedStack(uncounted)).count_tokens(turn(), [])


async def test_counting_and_compacting_are_tried_again() -> None:
    """A model is asked again for a count or a summary as for an answer, so often and no more."""
    stack = ScriptedStack(
        [refused()], [used(42)], [said("We "), refused()], [said("We met.")], [refused()], [refused()]
    )
    asked = engine(stack, model_tries=2)
    assert await asked.count_tokens(turn(), []) == 42
    [*_, compacted], _ = await asked.compact(turn(), [])
    assert SEALING.open("default", compacted["encrypted_content"]) == "We met."
    with pytest.raises(ModelError):
        await asked.count_tokens(turn(), [])
    assert len(stack.requests) == 6
