"""How the engine sums a conversation up, in a turn and by itself."""

from typing import Any

from support.engine import ANSWER, SEALING, engine, exchanges, message, read, run, tokens, turn
from support.scripted_stack import ScriptedStack, said, used

from turnstream_worker.engine import BYTES_A_TOKEN
from turnstream_worker.messages import SUMMARY
from turnstream_worker.summary import COMPACTION

THRESHOLD = 1000  # tokens
COMPACT: dict[str, Any] = {"context_management": [{"type": "compaction", "compact_threshold": THRESHOLD}]}
LONG = "x" * THRESHOLD * BYTES_A_TOKEN  # may have more tokens than that


async def test_conversation_is_summed_up() -> None:
    """A conversation that has grown to what the client said is summed up: the model goes on from that, and is told."""
    counted, summed_up = [used(THRESHOLD)], [said("We "), said("met."), used(7, 3)]
    stack = ScriptedStack(counted, summed_up, [*ANSWER])
    ran = await run(engine(stack), [*exchanges(1), message("user", LONG)], instructions="Be brief.", **COMPACT)
    assert ran.kinds == ["compaction", "message"]
    sealed = ran.outcome.output[0]["encrypted_content"]
    assert SEALING.open("default", sealed) == "We met."
    assert [event["type"] for event in ran.events[:2]] == ["response.output_item.added", "response.output_item.done"]
    assert read(stack, 1) == ["Be brief.", "question 0", "answer 0", LONG, "hello", COMPACTION]
    assert read(stack) == ["Be brief.", f"{SUMMARY}We met.", "hello"]
    assert tokens(ran) == (12, 4)


async def test_next_turn_goes_on_from_the_summary() -> None:
    """What a turn was summed up to and what it answered is all that the next one reads of the past."""
    first = await run(
        engine(ScriptedStack([used(THRESHOLD)], [said("We met.")], [*ANSWER])), [message("user", LONG)], **COMPACT
    )
    stack = ScriptedStack([*ANSWER])
    await run(engine(stack), [message("user", LONG), message("user", "hello"), *first.outcome.output])
    assert read(stack) == [f"{SUMMARY}We met.", "hi", "hello"]


async def test_outputs_keep_their_calls() -> None:
    """Where a turn answers a call, that call stays with its output, and with what else was called at the same time."""
    calls = [
        {"type": "function_call", "id": f"fc_{n}", "call_id": f"call_{n}", "name": "f", "arguments": "{}"}
        for n in range(2)
    ]
    outputs = [
        {"type": "function_call_output", "id": f"fco_{n}", "call_id": f"call_{n}", "output": "sunny"} for n in range(2)
    ]
    stack = ScriptedStack([used(THRESHOLD)], [said("We met.")], [*ANSWER])
    ran = await run(engine(stack), [message("user", LONG), *calls], given=outputs, **COMPACT)
    assert ran.outcome.status == "completed"
    summary, asked, *answers = stack.requests[-1]["messages"]
    assert summary["content"] == f"{SUMMARY}We met."
    assert [call["id"] for call in asked["tool_calls"]] == ["call_0", "call_1"]
    assert [answer["tool_call_id"] for answer in answers] == ["call_0", "call_1"]


async def test_conversation_that_has_not_grown_so_much() -> None:
    """A conversation of fewer tokens is left as it is; the provider counts them, and is asked where it may be close."""
    stack = ScriptedStack([used(THRESHOLD - 1)], [*ANSWER])
    assert (await run(engine(stack), [message("user", LONG)], **COMPACT)).kinds == ["message"]
    assert read(stack) == [LONG, "hello"]


async def test_short_conversation_is_not_counted() -> None:
    """A conversation that cannot have so many tokens costs no request more."""
    stack = ScriptedStack([*ANSWER])
    await run(engine(stack), **COMPACT)
    assert len(stack.requests) == 1


async def test_compact() -> None:
    """A conversation is compacted to what its user said and a summary that stands for all of it."""
    stack = ScriptedStack([said("We met."), used(9, 2)])
    items, usage = await engine(stack).compact(turn(instructions="Be brief."), exchanges(2))
    assert [item["type"] for item in items] == ["message"] * 3 + ["compaction"]
    assert [item["content"][0]["text"] for item in items[:-1]] == ["question 0", "question 1", "hello"]
    assert SEALING.open("default", items[-1]["encrypted_content"]) == "We met."
    assert items[-1]["id"].startswith("cmp_")
    assert usage is not None
    assert usage["total_tokens"] == 11
    assert read(stack) == ["Be brief.", "question 0", "answer 0", "question 1", "answer 1", "hello", COMPACTION]


async def test_compacted_conversation_can_be_gone_on_with() -> None:
    """What compacting returns is an input as it is, and can be compacted again."""
    items, _ = await engine(ScriptedStack([said("We met.")])).compact(turn(), exchanges(1))
    stack = ScriptedStack([said("Still.")])
    again, _ = await engine(stack).compact(turn([*items, message("user", "and?")]), [])
    assert read(stack) == ["question 0", "hello", f"{SUMMARY}We met.", "and?", COMPACTION]
    assert [item["type"] for item in again] == ["message"] * 3 + ["compaction"]
