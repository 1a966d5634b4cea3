"""The calls of tools that Turnstream runs: journalled before they start and after they end."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import orjson

from turnstream.ids import item_id
from turnstream.logs import log
from turnstream.steps import ApprovedCall, Step, idempotency_key
from turnstream.turns import Item, Turn
from turnstream_worker.journal import UNKNOWN, Journal, finished
from turnstream_worker.output import Output
from turnstream_worker.tools.tool import Tool, ToolResult

RUNNING = "The call was allowed before, and it runs just now in the response {turn}."
SOURCES = "web_search_call.action.sources"
ARGUMENTS_DEPTH = 64  # levels, as many as a client may send; what is nested in hundreds no library writes again
NO_ROOM = "The call has ended, but the turn's steps have no room left for what it returned."


@dataclass(frozen=True, slots=True)
class ToolRuns:
    """Runs a turn's calls."""

    turn: Turn
    toolbox: Mapping[str, Tool]
    journal: Journal
    output: Output
    at_a_time: int
    max_journal: int  # bytes

    def begin(self, tool: Tool, arguments: str, *, behind: int) -> Step:
        """Return the step of a call that is about to start, `behind` others, with its item."""
        step = self.journal.begin("tool_call", [tool.name, arguments], name=tool.name, behind=behind)
        if tool.kind == "web_search_call":
            begun: Item = {"action": {"type": "search", "query": _query(arguments)}}
            item = {"type": tool.kind, "id": item_id("ws_", self.turn.id), "status": "in_progress", **begun}
        else:
            item = self._mcp_call(tool.shown, arguments, None)
        return replace(step, items=[item])

    def begin_approved(self, request: Item, *, behind: int) -> Step:
        """Return the step of a call that a person has allowed, whether its tool is still there or not."""
        shown = {name: request[name] for name in ("server_label", "name")}
        tool = next((tool for tool in self.toolbox.values() if shown.items() <= tool.shown.items()), None)
        took_in = [shown, request["arguments"]]
        step = self.journal.begin("tool_call", took_in, name=tool.name if tool else request["name"], behind=behind)
        return replace(step, items=[self._mcp_call(shown, request["arguments"], request["id"])])

    def refused(self, step: Step, why: str) -> Step:
        """Return the step of a call that is not run, as it ends."""
        return finished(step, [self._ended(_item_of(step), ToolResult(f"The call was not run. {why}", failed=True))])

    async def run(self, steps: Sequence[Step]) -> None:
        """Run calls whose start is journalled, several at a time; return when all have ended and are journalled."""
        room = asyncio.Semaphore(self.at_a_time)
        for step in steps:
            self.output.begin(_item_of(step))
        running = [asyncio.create_task(self._run(step, room), name="tool") for step in steps]
        try:
            await asyncio.gather(*running)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)  # a call that is broken off has its last word

    async def settle(self) -> None:
        """Deal with the calls that an earlier attempt has started and not ended, each as its tool says."""
        started = self.journal.started
        uncertain = [step for step in started if self._policy(step) != "retry" and not await self.journal.first(step)]
        if uncertain:
            await self._end([self._given_up(step) for step in uncertain])
        await self.run([step for step in started if step not in uncertain])

    def _policy(self, step: Step) -> str:
        tool = self.toolbox.get(step.name or "")
        return tool.on_uncertain if tool else "fail"

    def _given_up(self, step: Step) -> Step:
        """Return a step whose end is unknown: the model is told, or else a person is asked whether to run it again."""
        log.warning("tool.uncertain", turn=self.turn.id, step=step.number, policy=self._policy(step))
        item = _item_of(step)
        items = [{**item, "status": "failed", **({"error": UNKNOWN} if item["type"] == "mcp_call" else {})}]
        if self._policy(step) == "ask" and item["type"] == "mcp_call":
            items.append(approval_request(self.turn, item, item["arguments"]))
        return replace(step, state="uncertain", items=items, finished_at=datetime.now(UTC))

    async def _run(self, step: Step, room: asyncio.Semaphore) -> None:
        async with room:
            first = await self.journal.first(step)
            ended = self._ended_before(step, first) if first else None
            if not ended:
                key = first.key if first else idempotency_key(self.turn.id, step.number, _item_of(step)["id"])
                ended = finished(step, [self._ended(_item_of(step), await self._call(step, key))])
        await self._end([self._fitting(step, ended)])

    def _fitting(self, step: Step, ended: Step) -> Step:
        """Return a step as it has ended, if the turn has room for what its call returned."""
        if ended.state == "uncertain" or self.journal.size + self.journal.growth(ended) <= self.max_journal:
            return ended
        return finished(step, [self._ended(_item_of(step), ToolResult(NO_ROOM, failed=True))])

    def _ended_before(self, step: Step, first: ApprovedCall) -> Step | None:
        """Return the end of a step whose approval has gone to another call: that call's; None if it may be repeated."""
        item = _item_of(step)
        if first.state == "finished" and first.items:
            return finished(step, [{**first.items[0], "id": item["id"]}])
        if first.state == "started" and first.open:
            return finished(step, [{**item, "status": "failed", "error": RUNNING.format(turn=first.turn)}])
        return None if self._policy(step) == "retry" else self._given_up(step)

    async def _end(self, steps: Sequence[Step]) -> None:
        await self.journal.write(*steps)
        for step in steps:
            self.output.announce([_item_of(step)])

    async def _call(self, step: Step, key: str) -> ToolResult:
        tool, item = self.toolbox.get(step.name or ""), _item_of(step)
        if tool is None:
            return ToolResult("The tool is not there any more.", failed=True)
        if item["type"] == "web_search_call":
            arguments: dict[str, Any] | None = {"query": item["action"]["query"]}
        else:
            arguments = _parsed(item["arguments"] or "{}")
        if arguments is None:
            message = f"The arguments are not a JSON object of at most {ARGUMENTS_DEPTH} levels."
            return ToolResult(message, failed=True)
        return await tool.call(arguments, key)

    def _ended(self, item: Item, result: ToolResult) -> Item:
        if result.failed:
            return {**item, "status": "failed", "error": result.output}
        ended = {**item, "status": "completed"}
        if item["type"] != "web_search_call":
            return {**ended, "output": result.output}
        results = [{"text": result.output}] if result.results is None else result.results
        if SOURCES in self.turn.request.get("include", ()):
            sources = [{"type": "url", "url": found["url"]} for found in results if "url" in found]
            ended["action"] = {**item["action"], "sources": sources}
        return {**ended, "results": results}

    def _mcp_call(self, shown: Mapping[str, Any], arguments: str, approval: str | None) -> Item:
        begun = {"status": "in_progress", "arguments": arguments, "output": None, "error": None}
        named = {"type": "mcp_call", "id": item_id("mcp_", self.turn.id), **shown}
        return {**named, **begun, "approval_request_id": approval}


def approval_request(turn: Turn, shown: Mapping[str, Any], arguments: str) -> Item:
    """Return the item that asks a person whether a tool may be called."""
    named = {"server_label": shown["server_label"], "name": shown["name"]}
    return {"type": "mcp_approval_request", "id": item_id("mcpr_", turn.id), **named, "arguments": arguments}


def _item_of(step: Step) -> Item:
    """Return the item of a call."""
    return (step.items or [{}])[0]


def _parsed(arguments: str) -> dict[str, Any] | None:
    """Return a call's arguments, None if they are nothing to call a tool with."""
    try:
        parsed = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return None
    return parsed if isinstance(parsed, dict) and not _exceeds_depth(parsed) else None


def _exceeds_depth(parsed: dict[str, Any]) -> bool:
    level: list[Any] = [parsed]
    for _ in range(ARGUMENTS_DEPTH):
        level = [inner for thing in level for inner in (thing.values() if isinstance(thing, dict) else thing)]
        level = [thing for thing in level if isinstance(thing, dict | list)]
    return bool(level)


def _query(arguments: str) -> str:
    """Return the query of a search, which is its one argument."""
    try:
        parsed = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return arguments
    query = parsed.get("query") if isinstance(parsed, dict) else parsed
    return query if isinstance(query, str) else arguments
