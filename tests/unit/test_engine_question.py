"""What the engine asks the model, and what becomes of the answer."""

from typing import Any

import pytest
from support.engine import ANSWER, SEALING, Shouted, compaction, engine, exchanges, failure, message, read, run, tokens
from support.scripted_stack import ScriptedStack, finished, said

from turnstream_worker.engine import since_compaction
from turnstream_worker.messages import SUMMARY


async def test_answer() -> None:
    """The model's answer is the turn's output, with what it used."""
    stack = ScriptedStack([*ANSWER])
    ran = await run(engine(stack))
    [item] = ran.outcome.output
    assert (item["content"][0]["text"], item["status"]) == ("hi", "completed")
    assert ran.outcome.status == "completed"
    assert tokens(ran) == (5, 1)
    assert stack.requests == [{"model": "m", "messages": [{"role": "user", "content": "hello"}]}]


async def test_provider_that_counts_nothing() -> None:
    """Where the provider counts no tokens, nothing is said of them."""
    assert (await run(engine(ScriptedStack([said("hi")])))).outcome.usage is None


@pytest.mark.parametrize("instructions", ["Be brief.", [message("system", "Be brief.")]])
async def test_order(instructions: Any) -> None:
    """The model reads the prompt, the instructions, what came before, and what is asked now, in this order."""
    stack = ScriptedStack([*ANSWER])
    prompt = {"prompt_items": [message("developer", "You are a poet.")]}
    await run(engine(stack), exchanges(1), **prompt, instructions=instructions)
    assert read(stack) == ["You are a poet.", "Be brief.", "question 0", "answer 0", "hello"]
    assert [sent["role"] for sent in stack.requests[0]["messages"]] == ["system", "system", "user", "assistant", "user"]


async def test_no_instructions() -> None:
    """Without instructions nothing is said by the system, also where they are empty items."""
    stack = ScriptedStack([*ANSWER])
    await run(engine(stack), instructions=[])
    assert read(stack) == ["hello"]


async def test_attachments() -> None:
    """What items refer to is put in its place in all that the model reads, and what came before is known as that."""
    stack = ScriptedStack([*ANSWER])
    await run(engine(stack, Shouted()), exchanges(1), instructions="Be brief.")
    assert read(stack) == ["BE BRIEF.", "QUESTION 0*", "ANSWER 0*", "HELLO"]


async def test_history_since_its_compaction() -> None:
    """Of what came before, the model reads the last summary and what follows it."""
    stack = ScriptedStack([*ANSWER])
    history = [*exchanges(1), compaction("older"), *exchanges(1), compaction("We met."), message("assistant", "so")]
    await run(engine(stack), history)
    assert read(stack) == [f"{SUMMARY}We met.", "so", "hello"]
    assert since_compaction(exchanges(2)) == exchanges(2)
    assert since_compaction([]) == []


async def test_item_that_cannot_be_read() -> None:
    """What cannot be read fails the turn before the model is asked."""
    stack = ScriptedStack()
    foreign = {"type": "compaction", "id": "cmp_1", "encrypted_content": SEALING.seal("other", "x")}
    assert await failure(engine(stack), [foreign]) == "invalid_prompt"
    assert stack.requests == []


async def test_answer_that_grows_too_large() -> None:
    """An answer that has grown too large is cut off, and no more of it is read."""
    stack = ScriptedStack([said("x" * 10), said("y"), said("never read"), finished()])
    ran = await run(engine(stack, max_output=10))
    assert ran.outcome.output[0]["content"][0]["text"] == "x" * 10 + "y"
    assert (ran.outcome.status, ran.outcome.incomplete) == ("incomplete", {"reason": "max_output_tokens"})
