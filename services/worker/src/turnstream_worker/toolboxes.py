"""The tools that a turn may call and that Turnstream runs: their servers are asked once, and the journal remembers."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from turnstream.errors import SecretsUnreadableError, TurnError
from turnstream.ids import item_id
from turnstream.secrets import Secrets
from turnstream.turns import Item, Turn
from turnstream_worker.journal import Journal, finished
from turnstream_worker.offer import CLIENT_TOOLS
from turnstream_worker.output import Output
from turnstream_worker.tools.tool import Tool, ToolError
from turnstream_worker.tools.tools import Tools

NO_ROOM = "The turn's steps have no room left for the list of the server's tools."


@dataclass(frozen=True, slots=True)
class Toolboxes:
    """Opens turns' toolboxes."""

    tools: Tools
    secrets: Secrets
    max_journal: int  # bytes

    async def open(self, turn: Turn, before: Sequence[Item], output: Output, journal: Journal) -> Mapping[str, Tool]:
        """Return a turn's tools by the names that the model calls them.

        `before` are the items before what the turn makes: a server that was listed there is not asked again.
        """
        asked = turn.request.get("tools", [])
        if all(tool["type"] in CLIENT_TOOLS for tool in asked):
            return {}
        given = self._opened(turn)
        mine = _lists(journal.items)
        # What an operator offers may have changed since an earlier turn was told of it; a server is asked once.
        known = {label: listed for label, listed in _lists(before).items() if label not in _connectors(asked)} | mine
        unknown = [tool for tool in asked if tool["type"] == "mcp" and tool["server_label"] not in known]
        if unknown:
            known |= await self._list(turn, unknown, given, output, journal)
        taken = {tool["name"] for tool in asked if tool["type"] in CLIENT_TOOLS}
        return self.tools.toolbox(asked, known, taken, given, turn.tenant)

    async def _list(
        self, turn: Turn, servers: Sequence[dict[str, Any]], given: dict[str, Any], output: Output, journal: Journal
    ) -> dict[str, list[dict[str, Any]]]:
        """Ask servers what tools they have, all at once, and journal what they say as far as the turn has room."""
        steps = [
            journal.begin("list_tools", server, name=server["server_label"], behind=behind)
            for behind, server in enumerate(servers)
        ]
        items = await asyncio.gather(*(self._listed(turn, server, given) for server in servers))
        ended = [finished(step, [item]) for step, item in zip(steps, items, strict=True)]
        room = self.max_journal - journal.size
        for place, step in enumerate(ended):
            if (size := journal.growth(step)) > room:
                items[place] = {**items[place], "tools": [], "error": NO_ROOM}
                ended[place] = finished(step, [items[place]])
            else:
                room -= size
        await journal.write(*ended)
        output.announce(items)
        return _lists(items) | {item["server_label"]: [] for item in items if item["error"]}

    async def _listed(self, turn: Turn, server: dict[str, Any], given: dict[str, Any]) -> Item:
        item = {"type": "mcp_list_tools", "id": item_id("mcpl_", turn.id), "server_label": server["server_label"]}
        try:
            return {**item, "tools": await self.tools.list_tools(server, given, turn.tenant), "error": None}
        except ToolError as error:
            return {**item, "tools": [], "error": error.message}

    def _opened(self, turn: Turn) -> dict[str, Any]:
        try:
            return self.secrets.open(turn.id, turn.secrets) if turn.secrets else {}
        except SecretsUnreadableError as error:
            message = "What the request brought for its tools cannot be read: the deployment's key has changed."
            raise TurnError(message, code="secrets_unreadable") from error


def _lists(items: Iterable[Item]) -> dict[str, list[dict[str, Any]]]:
    """Return what servers have said that they have, by their labels."""
    return {
        item["server_label"]: item["tools"]
        for item in items
        if item["type"] == "mcp_list_tools" and not item.get("error")
    }


def _connectors(asked: Iterable[dict[str, Any]]) -> set[str]:
    return {tool["server_label"] for tool in asked if tool["type"] == "mcp" and tool.get("connector_id")}
