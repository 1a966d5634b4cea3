"""The turn engine, with a model in memory: what it is asked, when it is asked again, and what becomes of its answer."""

import asyncio
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from support.kept_steps import KeptSteps
from support.scripted_stack import Script, ScriptedStack, called, delta, finished, piece, said, thought, used
from support.turns import a_turn, events_of, unchallenged

from turnstream.errors import ModelError, TurnError
from turnstream.memory import MemoryBus
from turnstream.turns import Item, Outcome, Turn
from turnstream_worker import model_calls
from turnstream_worker.attachments import Attachments
from turnstream_worker.engine import BYTES_A_TOKEN, Engine, since_compaction
from turnstream_worker.event_log import EventLog
from turnstream_worker.journal import Journal
from turnstream_worker.log_state import LogState
from turnstream_worker.messages import SUMMARY
from turnstream_worker.model_calls import TRUNCATIONS, ModelCalls
from turnstream_worker.output import Output
from turnstream_worker.sealing import Sealing
from turnstream_worker.settings import WorkerSettings
from turnstream_worker.summary import COMPACTION, THOUGHTS
from turnstream_worker.toolboxes import Toolboxes

SEALING = Sealing(b"k" * 32)
ANSWER: Script = [said("hi"), finished(), used(5, 1)]
THRESHOLD = 1000  # tokens
COMPACT: dict[str, Any] = {"context_management": [{"type": "compaction", "compact_threshold": THRESHOLD}]}
LONG = "x" * THRESHOLD * BYTES_A_TOKEN  # may have more tokens than that
DEADLINE = 20  # seconds; longer than the test takes
SEALED: dict[str, Any] = {"include": ["reasoning.encrypted_content"]}


class Unattached:
    """Attachments of items that refer to nothing."""

    async def resolve(self, items: list[Item], *, earlier: range) -> list[Item]:  # noqa: ARG002 - all are the same
        """Return the items as they are."""
        return items


class Shouted:
    """Attachments whose work is seen: they put every text into capitals, and mark those of earlier turns."""

    async def resolve(self, items: list[Item], *, earlier: range) -> list[Item]:
        """Return the items in capitals."""
        marks = ["*" if place in earlier else "" for place in range(len(items))]
        texts = [item["content"][0]["text"].upper() for item in items]
        return [message(item["role"], text + mark) for item, text, mark in zip(items, texts, marks, strict=True)]


class Waiting:
    """Attachments that never come."""

    async def resolve(self, items: list[Item], *, earlier: range) -> list[Item]:  # noqa: ARG002 - of any items
        """Wait."""
        await asyncio.Event().wait()
        return items


class NoTools:
    """Toolboxes of turns that ask for none."""

    async def open(self, *_: object) -> dict[str, Any]:
        """Return an empty one."""
        return {}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make no pause between two tries, but for what a provider asks for."""
    monkeypatch.setattr(model_calls, "FIRST_PAUSE", 0)


@dataclass
class Run:
    """A turn that was run."""

    outcome: Outcome
    events: list[dict[str, Any]]

    @property
    def kinds(self) -> list[str]:
        """The types of its items."""
        return [item["type"] for item in self.outcome.output]


def engine(stack: ScriptedStack, attachments: object = None, **settings: Any) -> Engine:
    """Return an engine on a stack."""
    where = {"nats_url": "nats://unused", "postgres_dsn": "postgresql://unused"}
    resolving = cast("Attachments", attachments or Unattached())
    read = WorkerSettings.model_validate({**where, **settings})
    return Engine(ModelCalls(stack, SEALING, read), resolving, cast("Toolboxes", NoTools()), read)


def turn(given: list[Item] | None = None, **asked: Any) -> Turn:
    """Make a turn that asks for this."""
    given = given or [message("user", "hello")]
    return replace(a_turn(), input=given, request={"model": "m", **asked}, created_at=datetime.now(UTC))


async def run(on: Engine, history: list[Item] | None = None, given: list[Item] | None = None, **asked: Any) -> Run:
    """Run a turn that asks for this."""
    bus, asking = MemoryBus(), turn(given, **asked)
    log = EventLog(bus, asking, unchallenged)
    try:
        output, journal = Output(asking.id, log, LogState()), Journal(KeptSteps(), asking)
        outcome = await on.run(asking, history or [], output, journal, lambda: False)
        assert outcome is not None
    finally:
        await log.flush()
    return Run(outcome, await events_of(bus))


async def failure(on: Engine, history: list[Item] | None = None, **asked: Any) -> str:
    """Run a turn that fails, and return the error's code."""
    with pytest.raises(TurnError) as failed:
        await run(on, history, **asked)
    return failed.value.code


def refused(code: str = "rate_limit_exceeded", retry_after: float | None = 0) -> ModelError:
    """Make a provider's refusal, which says to try again at once unless told otherwise."""
    return ModelError("No.", code=code, retry_after=retry_after)


def too_long() -> ModelError:
    """Make the refusal of a conversation that is too long."""
    return refused("context_length_exceeded", None)


def message(role: str, text: str) -> Item:
    """Make a message's item."""
    return {"type": "message", "id": "msg_1", "role": role, "content": [{"type": "input_text", "text": text}]}


def exchanges(count: int) -> list[Item]:
    """Make a history of so many questions with their answers."""
    pairs = [(message("user", f"question {n}"), message("assistant", f"answer {n}")) for n in range(count)]
    return [item for pair in pairs for item in pair]


def compaction(summary: str) -> Item:
    """Make what a conversation was summed up to."""
    return {"type": "compaction", "id": "cmp_1", "encrypted_content": SEALING.seal("default", summary)}


def read(stack: ScriptedStack, place: int = -1) -> list[Any]:
    """Return what the model was given to read: the contents of a request's messages."""
    return [sent["content"] for sent in stack.requests[place]["messages"]]


def tokens(ran: Run) -> tuple[int, int]:
    """Return how many tokens a turn has read and written."""
    usage = ran.outcome.usage or {}
    return usage["input_tokens"], usage["output_tokens"]


# The question


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


# Asking again


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


# Truncation


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


# Compaction


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


# Reasoning


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


# Counting and compacting by themselves


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


async def test_deadline_is_not_begun_again() -> None:
    """A turn's time runs from its acceptance in each attempt: what earlier ones have taken is not given back."""
    accepted = datetime.now(UTC) - timedelta(seconds=DEADLINE)
    asking = replace(turn(deadline=DEADLINE), attempt=2, created_at=accepted)
    output = Output(asking.id, EventLog(MemoryBus(), asking, unchallenged), LogState())
    journal = Journal(KeptSteps(), asking)
    async with asyncio.timeout(DEADLINE / 2):
        outcome = await engine(ScriptedStack(), Waiting()).run(asking, [], output, journal, lambda: False)
    assert outcome is not None
    assert (outcome.status, outcome.incomplete) == ("incomplete", {"reason": "deadline"})
