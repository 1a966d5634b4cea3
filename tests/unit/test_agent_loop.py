"""The agent loop, with a model and tools in memory: what is journalled when, and where another attempt goes on."""

import asyncio
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

import pytest
from support.event_order import disorder
from support.kept_steps import KeptSteps
from support.scripted_stack import Script, ScriptedStack, called, finished, piece, said, thought, used
from support.turns import a_turn, events_of, unchallenged

from turnstream.memory import MemoryBus
from turnstream.steps import ApprovedCall, StepState
from turnstream.turns import Item, Outcome, Turn
from turnstream_worker.agent_loop import AgentLoop, approved_by
from turnstream_worker.event_log import EventLog
from turnstream_worker.journal import UNKNOWN, Journal
from turnstream_worker.model_calls import ModelCalls
from turnstream_worker.output import Output
from turnstream_worker.sealing import Sealing
from turnstream_worker.settings import WorkerSettings
from turnstream_worker.tool_runs import SOURCES
from turnstream_worker.tools.tool import OnUncertain, ToolResult

ASKED: list[Item] = [
    {"type": "message", "id": "msg_1", "role": "user", "content": [{"type": "input_text", "text": "go"}]}
]
FUNCTION: Item = {"type": "function", "name": "ask", "description": None, "parameters": {}, "strict": None}

PAGE = {"url": "https://example.com/x", "title": "x", "snippet": "About x."}


class DiedError(Exception):
    """A worker's death, in the middle of a call."""


@dataclass
class FakeTool:
    """A tool that remembers its calls."""

    name: str = "charge"
    on_uncertain: OnUncertain = "fail"
    needs_approval: bool = False
    kind: Literal["mcp_call", "web_search_call"] = "mcp_call"
    dies: bool = False
    calls: list[tuple[dict[str, Any], str]] = field(default_factory=list)

    @property
    def shown(self) -> dict[str, Any]:
        """What names it in its items."""
        return {"server_label": "shop", "name": self.name} if self.kind == "mcp_call" else {}

    @property
    def definition(self) -> dict[str, Any]:
        """What the model is told."""
        return {"name": self.name, "description": "", "parameters": {"type": "object"}}

    async def call(self, arguments: dict[str, Any], key: str) -> ToolResult:
        """Remember the call."""
        self.calls.append((arguments, key))
        if self.dies:
            raise DiedError
        if arguments.get("wrong"):
            return ToolResult("It went wrong.", failed=True)
        return ToolResult(f"call {len(self.calls)}", results=[PAGE] if self.kind != "mcp_call" else None)


def calling(*calls: tuple[str, str]) -> Script:
    """Make the model's answer that calls tools."""
    pieces = [piece(n, arguments, call=f"c{n}", name=name) for n, (name, arguments) in enumerate(calls)]
    return [called(*pieces), finished("tool_calls"), used(5, 2)]


ANSWER: Script = [said("Done."), finished(), used(5, 1)]


class Attempts:
    """The attempts at one turn, on one log and one journal."""

    def __init__(self, *tools: FakeTool, **asked: Any) -> None:
        self.tools = {tool.name: tool for tool in tools}
        self.steps = KeptSteps()
        self.bus = MemoryBus()
        request = {"model": "m", "tools": [FUNCTION, {"type": "mcp", "server_label": "shop"}], **asked}
        self.turn: Turn = replace(a_turn(), input=ASKED, request=request, created_at=datetime.now(UTC))

    async def run(self, *scripts: Script, attempt: int = 1, leaving: bool = False, **settings: Any) -> Outcome | None:
        """Run the next attempt, on a model that answers so."""
        turn = replace(self.turn, attempt=attempt)
        self.stack = ScriptedStack(*scripts)
        where = {"nats_url": "nats://unused", "postgres_dsn": "postgresql://unused"}
        read = WorkerSettings.model_validate({**where, **settings})
        log, state = await EventLog.take_over(self.bus, turn, unchallenged)
        if not state.next:
            for kind in ("response.created", "response.in_progress"):
                log.append(kind, response={"id": turn.id})
        output, journal = Output(turn.id, log, state), await Journal.open(self.steps, turn)
        output.announce(journal.whole)
        output.close_left_open(goes_on={item["id"] for item in journal.items})
        output.keep_told(journal.items)
        models = ModelCalls(self.stack, Sealing(b"k" * 32), read)
        loop = AgentLoop(turn, turn.input, self.tools, models, journal, output, lambda: leaving, read)
        try:
            outcome = await loop.run(approved_by(turn.input, turn.input))
            if outcome:
                output.announce(outcome.output)
                response = {"id": turn.id, "status": outcome.status, "output": outcome.output, "usage": outcome.usage}
                log.append(f"response.{outcome.status}", response=response)
        finally:
            await log.flush()
        return outcome

    async def ended(self, *scripts: Script, attempt: int = 1, **settings: Any) -> Outcome:
        """Run the last attempt; its log is in order."""
        outcome = await self.run(*scripts, attempt=attempt, **settings)
        assert outcome is not None
        assert disorder(await events_of(self.bus)) == []
        return outcome

    async def dies(self, *scripts: Script) -> None:
        """Run an attempt that dies in a tool's call."""
        for tool in self.tools.values():
            tool.dies = True
        with pytest.raises(DiedError):
            await self.run(*scripts)
        for tool in self.tools.values():
            tool.dies = False


def kinds(outcome: Outcome) -> list[str]:
    """Return the types of a turn's items."""
    return [item["type"] for item in outcome.output]


async def test_steps_are_journalled() -> None:
    """What the model said is written with the start of what it calls, and what a call returned before it is told."""
    tool = FakeTool()
    attempts = Attempts(tool)
    outcome = await attempts.ended([said("Well."), *calling(("charge", '{"a": 1}'))], ANSWER)
    assert kinds(outcome) == ["message", "mcp_call", "message"]
    written = [[(step.kind, step.state) for step in steps] for steps in attempts.steps.writes]
    assert written == [[("model_call", "finished"), ("tool_call", "started")], [("tool_call", "finished")]]
    model, call = await attempts.steps.steps("resp_1")
    assert (model.usage or {})["total_tokens"] == 7
    assert len(model.digest) == len(call.digest) == 32
    assert model.digest != call.digest
    assert call.finished_at
    assert call.finished_at >= call.started_at
    [(arguments, key)] = tool.calls
    assert arguments == {"a": 1}
    assert key == f"resp_1:1:{outcome.output[1]['id']}"
    assert (outcome.usage or {})["total_tokens"] == 13


async def test_turn_without_calls_writes_nothing() -> None:
    """A turn of one step has no journal: its end is all that there is to know."""
    attempts = Attempts(FakeTool())
    assert kinds(await attempts.ended(ANSWER)) == ["message"]
    assert attempts.steps.writes == []


async def test_calls_run_together() -> None:
    """Calls that were made together are journalled together, before any of them runs."""
    tool = FakeTool()
    attempts = Attempts(tool)
    await attempts.ended(calling(("charge", '{"n": 1}'), ("charge", '{"n": 2}')), ANSWER)
    assert [step.state for step in attempts.steps.writes[0]] == ["finished", "started", "started"]
    assert len(tool.calls) == 2
    assert len({key for _, key in tool.calls}) == 2


async def test_next_attempt_goes_on() -> None:
    """An attempt asks the model nothing that an earlier one has journalled, and closes what that left half-said."""
    tool = FakeTool()
    attempts = Attempts(tool)
    with pytest.raises(DiedError):
        await attempts.run(calling(("charge", "{}")), _breaking_off())
    outcome = await attempts.ended(ANSWER, attempt=2)
    assert len(tool.calls) == 1
    assert kinds(outcome) == ["mcp_call", "message"]
    assert [message["role"] for message in attempts.stack.requests[0]["messages"]] == ["user", "assistant", "tool"]
    done = [event["item"] for event in await events_of(attempts.bus) if event["type"] == "response.output_item.done"]
    assert [item.get("status") for item in done] == ["completed", "incomplete", "completed"]


@pytest.mark.parametrize("calls", [False, True])
async def test_what_a_dead_attempt_has_told_stays(calls: bool) -> None:
    """Reasoning that was told as whole by an attempt that then died is part of the response, as the stream has it."""
    attempts = Attempts(FakeTool())
    for attempt in (1, 2):
        with pytest.raises(DiedError):
            await attempts.run(_breaking_off(thought("Hm.")), attempt=attempt)
    answers = [[thought("So."), *calling(("charge", "{}"))], [thought("Well."), *ANSWER]][not calls :]
    outcome = await attempts.ended(*answers, attempt=3)
    done = [event["item"] for event in await events_of(attempts.bus) if event["type"] == "response.output_item.done"]
    assert [item for item in done if item["status"] == "completed"] == outcome.output
    assert kinds(outcome)[:3] == ["reasoning"] * 3
    if calls:
        *_, request = attempts.stack.requests
        assert [message.get("reasoning_content") for message in request["messages"]] == [
            None,
            "Hm.\n\nHm.\n\nSo.",
            None,
        ]


def _breaking_off(*before: Any) -> Script:
    class Dying(list[Any]):
        def __iter__(self) -> Any:
            yield from (*before, said("Half"))
            raise DiedError

    return Dying()


async def test_uncertain_call_is_reported() -> None:
    """A call that may have run is not run again, unless its tool says so: the model learns that nobody knows."""
    tool = FakeTool()
    attempts = Attempts(tool)
    await attempts.dies(calling(("charge", "{}")))
    outcome = await attempts.ended(ANSWER, attempt=2)
    assert len(tool.calls) == 1
    assert (outcome.output[0]["status"], outcome.output[0]["error"]) == ("failed", UNKNOWN)
    assert attempts.stack.requests[0]["messages"][-1]["content"] == UNKNOWN
    assert [step.state for step in await attempts.steps.steps("resp_1")] == ["finished", "uncertain"]


async def test_uncertain_call_is_repeated() -> None:
    """A call whose tool says that it may be repeated is, under the same key, and stays the same item."""
    tool = FakeTool(on_uncertain="retry")
    attempts = Attempts(tool)
    await attempts.dies(calling(("charge", "{}")))
    outcome = await attempts.ended(ANSWER, attempt=2)
    assert [key for _, key in tool.calls] == [tool.calls[0][1]] * 2
    assert kinds(outcome) == ["mcp_call", "message"]
    assert outcome.output[0]["output"] == "call 2"


async def test_person_decides() -> None:
    """A call whose tool says so is left to a person: the turn ends with the question, and asks the model nothing."""
    attempts = Attempts(FakeTool(on_uncertain="ask"))
    await attempts.dies(calling(("charge", '{"a": 1}')))
    outcome = await attempts.ended(attempt=2)
    assert kinds(outcome) == ["mcp_call", "mcp_approval_request"]
    assert outcome.output[1]["arguments"] == '{"a": 1}'
    assert outcome.status == "completed"


async def test_search_is_repeated() -> None:
    """A search that was broken off has its query still, and its results are what the model reads."""
    tool = FakeTool("web_search", on_uncertain="retry", kind="web_search_call")
    attempts = Attempts(tool)
    await attempts.dies(calling(("web_search", '{"query": "x y"}')))
    outcome = await attempts.ended(ANSWER, attempt=2)
    search = outcome.output[0]
    assert search["action"] == {"type": "search", "query": "x y"}
    assert search["results"] == [PAGE]
    assert [arguments for arguments, _ in tool.calls] == [{"query": "x y"}] * 2
    assert "title" in attempts.stack.requests[0]["messages"][-1]["content"]


@pytest.mark.parametrize(
    ("include", "shown"), [([], {}), ([SOURCES], {"sources": [{"type": "url", "url": PAGE["url"]}]})]
)
async def test_sources_of_a_search(include: list[str], shown: dict[str, Any]) -> None:
    """A search shows the addresses of what it has found where that is asked for."""
    tool = FakeTool("web_search", kind="web_search_call")
    attempts = Attempts(tool, include=include)
    outcome = await attempts.ended(calling(("web_search", '{"query": "x"}')), ANSWER)
    assert outcome.output[0]["action"] == {"type": "search", "query": "x", **shown}


async def test_handed_over() -> None:
    """A turn that is to go on elsewhere does so at the end of a step, and the next attempt repeats nothing."""
    tool = FakeTool()
    attempts = Attempts(tool)
    assert await attempts.run(leaving=True) is None
    outcome = await attempts.ended(calling(("charge", "{}")), ANSWER, attempt=2)
    assert outcome.status == "completed"
    assert len(tool.calls) == 1


@pytest.mark.parametrize("arguments", ["not json", "[1]", '{"wrong": true}'])
async def test_failed_call(arguments: str) -> None:
    """Arguments that are no object, and a tool that fails, are told to the model, and the turn goes on."""
    attempts = Attempts(FakeTool())
    outcome = await attempts.ended(calling(("charge", arguments)), ANSWER)
    assert outcome.output[0]["status"] == "failed"
    assert outcome.status == "completed"


async def test_approval_is_asked_for() -> None:
    """A call that needs a person's word ends the turn with the question; what needs none is run before."""
    careful, free = FakeTool(needs_approval=True), FakeTool("add")
    attempts = Attempts(careful, free)
    outcome = await attempts.ended(calling(("charge", "{}"), ("add", "{}"), ("ask", "{}")))
    assert kinds(outcome) == ["mcp_call", "mcp_approval_request", "function_call"]
    assert (len(careful.calls), len(free.calls)) == (0, 1)


NAMED = {"server_label": "shop", "name": "charge", "arguments": "{}"}
REQUEST = {"type": "mcp_approval_request", "id": "mcpr_1", **NAMED}
RESPONSE = {"type": "mcp_approval_response", "id": "x", "approval_request_id": "mcpr_1", "approve": True}
ANSWERED = {"type": "mcp_call", "id": "mcp_1", "approval_request_id": "mcpr_1", "output": "1", **NAMED}


def allowed(*tools: FakeTool, first: ApprovedCall | None = None) -> Attempts:
    """Return the attempts at a turn that allows a call, which another turn may have begun with that before."""
    attempts = Attempts(*tools)
    attempts.turn = replace(attempts.turn, input=[*ASKED, REQUEST, RESPONSE])
    if first:
        attempts.steps.approvals["mcpr_1"] = first
    return attempts


def another(state: StepState | None, *, open_: bool = False) -> ApprovedCall:
    """Return another turn's call with the same approval."""
    items = None if state is None else [{**ANSWERED, "id": "mcp_2", "status": "completed", "error": None}]
    return ApprovedCall("resp_0", 3, "mcp_2", state, items, open_)


async def test_approved_call_of_a_tool_that_is_gone() -> None:
    """A call that was allowed and whose tool is not offered any more fails, and the turn goes on."""
    outcome = await allowed().ended(ANSWER)
    assert outcome.output[0]["approval_request_id"] == "mcpr_1"
    assert "not there" in outcome.output[0]["error"]


async def test_approved_once() -> None:
    """A call that was allowed and run before is not run again by a client that sends all of it back."""
    tool = FakeTool(needs_approval=True)
    attempts = Attempts(tool)
    attempts.turn = replace(attempts.turn, input=[*ASKED, REQUEST, RESPONSE, ANSWERED, *ASKED])
    assert kinds(await attempts.ended(ANSWER)) == ["message"]
    assert tool.calls == []


async def test_approved_as_it_was_asked() -> None:
    """A request that a client sends back beside the one that stands there is the same, and its call is run once."""
    tool = FakeTool(needs_approval=True)
    attempts = allowed(tool)
    sent_back = {**REQUEST, "arguments": '{"a": 1}'}
    attempts.turn = replace(attempts.turn, input=[*ASKED, REQUEST, sent_back, RESPONSE])
    assert kinds(await attempts.ended(ANSWER)) == ["mcp_call", "message"]
    assert [arguments for arguments, _ in tool.calls] == [{}]


async def test_approved_elsewhere_and_ended() -> None:
    """A call that another turn has run with the same approval is not run: the model reads what it returned there."""
    tool = FakeTool(needs_approval=True)
    attempts = allowed(tool, first=another("finished"))
    outcome = await attempts.ended(ANSWER)
    assert kinds(outcome) == ["mcp_call", "message"]
    assert (outcome.output[0]["output"], outcome.output[0]["approval_request_id"]) == ("1", "mcpr_1")
    assert outcome.output[0]["id"] != "mcp_2"
    assert attempts.stack.requests[0]["messages"][-1]["content"] == "1"
    assert tool.calls == []


async def test_approved_elsewhere_and_running() -> None:
    """A call that another turn runs just now is not run, even one that may be: the model is told where it runs."""
    tool = FakeTool(needs_approval=True, on_uncertain="retry")
    outcome = await allowed(tool, first=another("started", open_=True)).ended(ANSWER)
    assert "resp_0" in outcome.output[0]["error"]
    assert tool.calls == []


@pytest.mark.parametrize("state", ["started", "uncertain", None])
async def test_approved_elsewhere_and_uncertain(state: StepState | None) -> None:
    """What another turn may have run is treated as on a takeover: reported, run again under its key, or asked about."""
    told, again, asking = [FakeTool(needs_approval=True, on_uncertain=policy) for policy in ("fail", "retry", "ask")]
    outcome = await allowed(told, first=another(state)).ended(ANSWER)
    assert (outcome.output[0]["status"], outcome.output[0]["error"]) == ("failed", UNKNOWN)
    assert (await allowed(again, first=another(state)).ended(ANSWER)).output[0]["output"] == "call 1"
    assert kinds(await allowed(asking, first=another(state)).ended()) == ["mcp_call", "mcp_approval_request"]
    assert (told.calls, again.calls, asking.calls) == ([], [({}, "resp_0:3:mcp_2")], [])


async def test_approved_elsewhere_while_its_worker_died() -> None:
    """An attempt that goes on with a call which has not the approval does not run it, whatever its tool says."""
    tool = FakeTool(needs_approval=True, on_uncertain="retry")
    attempts = allowed(tool)
    await attempts.dies()
    attempts.steps.approvals["mcpr_1"] = another("finished")
    assert (await attempts.ended(ANSWER, attempt=2)).output[0]["output"] == "1"
    assert len(tool.calls) == 1  # by the attempt that has died


async def test_more_is_approved_than_may_be_called() -> None:
    """Calls that a person allowed count as well: those above the limit are shown as not run, and the model is told."""
    tool = FakeTool(needs_approval=True)
    attempts = Attempts(tool, max_tool_calls=1)
    named = {"server_label": "shop", "name": "charge", "arguments": "{}"}
    asked = [{"type": "mcp_approval_request", "id": f"mcpr_{n}", **named} for n in range(3)]
    allowed = [{"type": "mcp_approval_response", "approval_request_id": one["id"], "approve": True} for one in asked]
    attempts.turn = replace(attempts.turn, input=[*ASKED, *asked, *allowed])
    outcome = await attempts.ended(ANSWER)
    assert len(tool.calls) == 1
    assert [item.get("status") for item in outcome.output] == ["completed", "failed", "failed", "completed"]
    refusal = "The call was not run. The turn's max_tool_calls was reached."
    assert [item["error"] for item in outcome.output[1:3]] == [refusal] * 2
    told = [message["content"] for message in attempts.stack.requests[0]["messages"] if message["role"] == "tool"]
    assert told == ["call 1", refusal, refusal]


async def test_calls_without_ids() -> None:
    """Calls of a provider that names none are run once."""
    tool = FakeTool()
    attempts = Attempts(tool)
    unnamed = [called(piece(0, "{}", name="charge")), called(piece(1, "{}", name="charge")), finished("tool_calls")]
    assert kinds(await attempts.ended(unnamed, ANSWER)) == ["mcp_call", "mcp_call", "message"]
    assert len(tool.calls) == 2


@pytest.mark.parametrize(
    ("asked", "settings", "reason", "calls"),
    [
        ({"max_tool_calls": 2}, {}, "max_tool_calls", 2),
        ({"max_infer_iters": 3}, {}, "max_infer_iters", 3),
        ({}, {"max_model_calls": 1}, "max_infer_iters", 1),
        ({"max_output_tokens": 16}, {}, "max_output_tokens", 8),
        ({}, {"max_journal": 1}, "max_output_size", 1),
    ],
)
async def test_limits(asked: dict[str, int], settings: dict[str, int], reason: str, calls: int) -> None:
    """A turn that comes to a limit ends there, with what it has done, and says which limit."""
    tool = FakeTool()
    outcome = await Attempts(tool, **asked).ended(*[calling(("charge", "{}")) for _ in range(9)], **settings)
    assert (outcome.status, outcome.incomplete) == ("incomplete", {"reason": reason})
    assert len(tool.calls) == calls


async def test_forced_call_is_forced_once() -> None:
    """A model that has to call a tool need not do so again once it has: it could never answer otherwise."""
    attempts = Attempts(FakeTool(), tool_choice={"type": "mcp", "server_label": "shop"})
    await attempts.ended(calling(("charge", "{}")), ANSWER)
    first, second = attempts.stack.requests
    assert (first["tool_choice"], second["tool_choice"]) == ("required", "auto")
    assert [tool["function"]["name"] for tool in first["tools"]] == ["charge"]
    assert len(second["tools"]) == 2


async def test_cancelled_in_a_call() -> None:
    """A turn that is stopped in the middle of a call stops the call, whose step stays begun."""
    begun = asyncio.Event()

    class Slow(FakeTool):
        async def call(self, arguments: dict[str, Any], key: str) -> ToolResult:
            begun.set()
            await asyncio.Event().wait()
            return await super().call(arguments, key)

    attempts = Attempts(Slow())
    running = asyncio.create_task(attempts.run(calling(("charge", "{}"))))
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert [step.state for step in await attempts.steps.steps("resp_1")] == ["finished", "started"]
