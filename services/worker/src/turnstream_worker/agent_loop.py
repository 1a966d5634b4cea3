"""A turn's loop: the model answers, the tools that it calls are run, their results go back to it, until it is done.

Every step is journalled when it has ended, and only then told as whole. So an attempt that goes on behind another's
steps begins where the journal ends, and has no other memory.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from turnstream.steps import Step
from turnstream.turns import Item, Outcome, Turn
from turnstream_worker.answer import Answer, Call, client_call
from turnstream_worker.journal import Journal, finished
from turnstream_worker.model_calls import ModelCalls
from turnstream_worker.offer import offered
from turnstream_worker.outcomes import incomplete, made_so_far
from turnstream_worker.output import Output
from turnstream_worker.settings import WorkerSettings
from turnstream_worker.tool_runs import ToolRuns, approval_request
from turnstream_worker.tools.tool import Tool
from turnstream_worker.usage import Usage


@dataclass(frozen=True, slots=True)
class AgentLoop:
    """One attempt at a turn."""

    turn: Turn
    items: list[Item]  # what the model reads before what the turn itself makes
    toolbox: Mapping[str, Tool]
    models: ModelCalls
    journal: Journal
    output: Output
    leaving: Callable[[], bool]  # whether the turn is to go on in another worker
    settings: WorkerSettings

    async def run(self, approved: Sequence[Item]) -> Outcome | None:
        """Run until the turn ends, `approved` calls first; return None if it is to go on elsewhere.

        Raises TurnError.
        """
        runs = self._runs
        await runs.settle()
        await self._run_approved(runs, approved)
        while not self.journal.held:
            if self.leaving():
                return None
            if reason := self._limit():
                return incomplete(reason, self.journal, self.output)
            outcome = await self._step(runs)
            if outcome:
                return outcome
        # A client's own tools, or a person, have to say something before it goes on.
        return Outcome(
            "completed", [*made_so_far(self.journal, self.output), *self.journal.held], usage=self.journal.usage.shown()
        )

    @property
    def _runs(self) -> ToolRuns:
        limits = self.settings.tools_at_a_time, self.settings.max_journal
        return ToolRuns(self.turn, self.toolbox, self.journal, self.output, *limits)

    async def _run_approved(self, runs: ToolRuns, approved: Sequence[Item]) -> None:
        """Run the calls that a person has allowed since they were asked for, but for those that were begun before.

        Those that are more than the turn may make fail, so that nobody waits for them.
        """
        begun = {item.get("approval_request_id") for item in self.journal.items}
        waiting = [request for request in approved if request["id"] not in begun]
        if not waiting:
            return
        steps = [runs.begin_approved(request, behind=behind) for behind, request in enumerate(waiting)]
        room = self._room(len(steps))
        refused = [runs.refused(step, "The turn's max_tool_calls was reached.") for step in steps[room:]]
        await self.journal.write(*steps[:room], *refused)
        await runs.run(steps[:room])
        self.output.announce([item for step in refused for item in step.items or ()])

    def _room(self, calls: int) -> int:
        """Return how many of these further calls the turn may make."""
        limit: int | None = self.turn.request.get("max_tool_calls")
        return calls if limit is None else max(limit - self.journal.calls, 0)

    def _limit(self) -> str | None:
        """Return why the model is not to be asked again, or None."""
        asked = self.turn.request
        if self.journal.model_calls >= asked.get("max_infer_iters", self.settings.max_model_calls):
            return "max_infer_iters"
        if self.journal.steps and self.journal.usage.output >= asked.get("max_output_tokens", float("inf")):
            return "max_output_tokens"
        return "max_output_size" if self.journal.size > self.settings.max_journal else None

    async def _step(self, runs: ToolRuns) -> Outcome | None:
        """Have the model answer and run what it calls; return how the turn ends, if it does."""
        started, usage = datetime.now(UTC), Usage()
        items = [*self.items, *(item for item in self.journal.items if item["type"] != "compaction")]
        answer = await self.models.answer(self.turn, self._asked(), items, self.output, usage)
        answer.end()
        calls = answer.calls
        ours = [call for call in calls if self._runs_itself(call)]
        theirs = [self._held(call) for call in calls if not self._runs_itself(call)]
        if not ours:
            return self._end(answer, theirs, usage)
        room = self._room(len(ours))
        if not room:
            return replace(self._end(answer, [], usage), status="incomplete", incomplete={"reason": "max_tool_calls"})
        step = finished(
            replace(self.journal.begin("model_call", items), started_at=started),
            [*self.output.take(), *theirs],
            usage=usage.shown(),
        )
        await self._journal_calls(runs, step, ours[:room])
        return None

    async def _journal_calls(self, runs: ToolRuns, step: Step, calls: Sequence[Call]) -> None:
        steps = [
            runs.begin(self.toolbox[call.name], call.arguments or "{}", behind=behind)
            for behind, call in enumerate(calls, start=1)
        ]
        # What the model said and that its calls start: one transaction, so that neither is without the other.
        await self.journal.write(step, *steps)
        self.output.announce([item for item in step.items or () if item in self.journal.items])
        await runs.run(steps)

    def _end(self, answer: Answer, calls: Sequence[Item], usage: Usage) -> Outcome:
        total = self.journal.usage
        total.add_shown(usage.shown())
        reason = answer.reason
        return Outcome(
            "incomplete" if reason else "completed",
            [*made_so_far(self.journal, self.output), *calls],
            usage=total.shown(),
            incomplete={"reason": reason} if reason else None,
            service_tier=answer.service_tier,
        )

    def _asked(self) -> dict[str, Any]:
        """Return what the model is asked besides the items."""
        asked = offered(self.turn.request, self.toolbox, called=self.journal.calls > 0)
        if "max_output_tokens" in asked and self.journal.steps:
            return {**asked, "max_output_tokens": asked["max_output_tokens"] - self.journal.usage.output}
        return asked

    def _runs_itself(self, call: Call) -> bool:
        tool = self.toolbox.get(call.name)
        return tool is not None and not tool.needs_approval

    def _held(self, call: Call) -> Item:
        """Return the item of a call that is a client's to run, or a person's to allow."""
        if tool := self.toolbox.get(call.name):
            return approval_request(self.turn, tool.shown, call.arguments or "{}")
        tools = self.turn.request.get("tools", ())
        custom = any(tool["type"] == "custom" and tool["name"] == call.name for tool in tools)
        return client_call(call, custom, self.turn.id)


def approved_by(responses: Sequence[Item], items: Sequence[Item]) -> list[Item]:
    """Return the requests among items that these responses approve, but for those whose calls stand there too."""
    run = {item.get("approval_request_id") for item in items if item["type"] == "mcp_call"}
    answers = [item for item in responses if item["type"] == "mcp_approval_response" and item["approve"]]
    approved = {answer["approval_request_id"] for answer in answers} - run
    requests: dict[str, Item] = {}
    for item in items:
        if item["type"] == "mcp_approval_request" and item["id"] in approved:
            requests.setdefault(item["id"], item)  # as it was asked: a client may have sent it back, too
    return list(requests.values())
