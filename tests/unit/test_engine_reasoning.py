"""What the engine makes of a model's reasoning: summed up, sealed and closed."""

from typing import Any

import pytest
from support.engine import ANSWER, SEALING, engine, read, refused, run, tokens
from support.scripted_stack import Script, ScriptedStack, called, delta, finished, piece, said, thought, used

from turnstream_worker.summary import THOUGHTS

pytestmark = pytest.mark.usefixtures("no_pause_between_tries")


SEALED: dict[str, Any] = {"include": ["reasoning.encrypted_content"]}


@pytest.mark.parametrize(("style", "prompt"), [("auto", "concise"), ("concise", "concise"), ("detailed", "detailed")])
async def test_reasoning_is_summed_up(style: str, prompt: str) -> None:
    """A model's reasoning is summed up by the model itself, in the style that is asked for, before it answers."""
    stack = ScriptedStack([thought("h"), thought("m"), *ANSWER], [said("so "), said("so"), used(3, 2)])
    ran = await run(engine(stack), reasoning={"summary": style})
    reasoning, answer = ran.outcome.output
    assert reasoning["content"] == [{"type": "reasoning_text", "text": "hm"}]
    assert reasoning["summary"] == [{"type": "summary_text", "text": "so so"}]
    assert answer["content"][0]["text"] == "hi"
    assert read(stack) == [f"{THOUGHTS[prompt]}hm"]
    assert tokens(ran) == (8, 3)


async def test_reasoning_is_sealed() -> None:
    """Reasoning is sealed for a client that keeps its conversation itself, and not for others."""
    for asked, opened in ((SEALED, "hm"), ({"include": []}, None)):
        ran = await run(engine(ScriptedStack([thought("hm"), *ANSWER])), **asked)
        sealed = ran.outcome.output[0].get("encrypted_content")
        assert (sealed and SEALING.open("default", sealed)) == opened
        assert "encrypted_content" not in ran.outcome.output[1]


@pytest.mark.parametrize(
    "said_next",
    [said("hi"), delta(refusal="no"), called(piece(0, "{}", call="a", name="f")), delta(reasoning="", content="hi")],
)
async def test_reasoning_is_over(said_next: Any) -> None:
    """Reasoning is closed by whatever follows it, sealed and summed up once."""
    stack = ScriptedStack([thought("hm"), said_next, said_next], [said("so")])
    ran = await run(engine(stack), reasoning={"summary": "auto"}, **SEALED)
    reasoning, *others = ran.outcome.output
    assert (reasoning["type"], reasoning["status"]) == ("reasoning", "completed")
    assert SEALING.open("default", reasoning["encrypted_content"]) == "hm"
    assert [item["type"] for item in others] in (["message"], ["function_call"])
    assert len(stack.requests) == 2


@pytest.mark.parametrize("before", [[], [thought("h")]])
async def test_chunk_that_ends_reasoning_with_its_last_words(before: Script) -> None:
    """Where a provider sends the last of the reasoning with the first of the answer, each goes where it belongs."""
    chunk = delta(reasoning_content="m", content="h")
    stack = ScriptedStack([*before, chunk, said("i"), finished()], [said("so")])
    ran = await run(engine(stack), reasoning={"summary": "auto"}, **SEALED)
    reasoning, answer = ran.outcome.output
    thoughts = "hm" if before else "m"
    assert reasoning["content"] == [{"type": "reasoning_text", "text": thoughts}]
    assert SEALING.open("default", reasoning["encrypted_content"]) == thoughts
    assert (answer["type"], answer["content"][0]["text"]) == ("message", "hi")
    assert "encrypted_content" not in answer
    assert len(stack.requests) == 2


async def test_thinking_again() -> None:
    """A model that thinks again after it has spoken has another reasoning item, sealed like the first."""
    stack = ScriptedStack([thought("hm"), said("a"), thought("well"), said("b"), finished()])
    ran = await run(engine(stack), **SEALED)
    assert ran.kinds == ["reasoning", "message"] * 2
    opened = [SEALING.open("default", item["encrypted_content"]) for item in ran.outcome.output[::2]]
    assert opened == ["hm", "well"]


@pytest.mark.parametrize("shown", [[], ["so"]])
async def test_summary_of_reasoning_fails(shown: list[str]) -> None:
    """Where the reasoning cannot be summed up, it goes without, or with what was shown of it; the answer follows."""
    stack = ScriptedStack([thought("hm"), *ANSWER], [*map(said, shown), refused()])
    ran = await run(engine(stack), reasoning={"summary": "auto"}, **SEALED)
    reasoning, answer = ran.outcome.output
    assert (reasoning["status"], [part["text"] for part in reasoning["summary"]]) == ("completed", shown)
    assert SEALING.open("default", reasoning["encrypted_content"]) == "hm"
    assert (ran.outcome.status, answer["content"][0]["text"]) == ("completed", "hi")
    assert len(stack.requests) == 2
