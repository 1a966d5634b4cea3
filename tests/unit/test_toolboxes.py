"""Turns' toolboxes: what servers list, as far as a turn has room for it."""

from dataclasses import replace
from typing import Any

from support.kept_steps import KeptSteps
from support.turns import a_turn, events_of, unchallenged

from turnstream.memory import MemoryBus
from turnstream.secrets import Secrets
from turnstream_worker.event_log import EventLog
from turnstream_worker.journal import Journal
from turnstream_worker.log_state import LogState
from turnstream_worker.output import Output
from turnstream_worker.settings import WorkerSettings
from turnstream_worker.toolboxes import NO_ROOM, Toolboxes
from turnstream_worker.tools.tools import Tools

MAX_JOURNAL = 100_000  # bytes


class WordyTools(Tools):
    """Tools of servers that all say a lot of theirs."""

    async def list_tools(self, server: dict[str, Any], secrets: dict[str, Any], tenant: str) -> list[dict[str, Any]]:  # noqa: ARG002 - all say the same
        """Return one tool with a long description."""
        return [{"name": "x", "description": "y" * 30_000, "input_schema": {"type": "object"}, "annotations": None}]


async def test_lists_that_are_too_much_together() -> None:
    """Lists above what a turn has room for are shown as errors, and the tools of the others can be called."""
    servers = [
        {"type": "mcp", "server_label": f"s{n}", "server_url": "https://x.test", "require_approval": "never"}
        for n in range(5)
    ]
    bus, turn = MemoryBus(), replace(a_turn(), request={"model": "m", "tools": servers})
    log = EventLog(bus, turn, unchallenged)
    journal = Journal(KeptSteps(), turn)
    tools = WordyTools(WorkerSettings(nats_url="nats://nobody", postgres_dsn="postgresql://nobody"))
    toolboxes = Toolboxes(tools, Secrets(None), MAX_JOURNAL)
    opened = await toolboxes.open(turn, [], Output(turn.id, log, LogState()), journal)
    await log.flush()
    assert [item["error"] for item in journal.items] == [None, None, None, NO_ROOM, NO_ROOM]
    assert journal.size < MAX_JOURNAL + 1000
    assert sorted(opened) == ["s0__x", "s1__x", "s2__x"]
    done = [event["item"] for event in await events_of(bus) if event["type"] == "response.output_item.done"]
    assert done == journal.items
    await tools.close()
