"""The tools that this worker can run for turns."""

from typing import Any

from turnstream.guard import Guard, Lookup, look_up
from turnstream.logs import log
from turnstream_worker.settings import WorkerSettings
from turnstream_worker.tools import policy, web_search
from turnstream_worker.tools.mcp_address import McpAddress
from turnstream_worker.tools.mcp_server import McpServer
from turnstream_worker.tools.mcp_servers import McpServers
from turnstream_worker.tools.mcp_tool import McpTool
from turnstream_worker.tools.names import unique_names
from turnstream_worker.tools.policy import Listed
from turnstream_worker.tools.python_tools import CONNECTOR, PythonTool, PythonTools
from turnstream_worker.tools.tool import Tool, ToolError
from turnstream_worker.tools.web_search import SearchKeys, WebSearch


class Tools:
    """Lists and makes tools. One for each worker."""

    def __init__(self, settings: WorkerSettings, lookup: Lookup = look_up) -> None:
        """Load the operator's tools; whatever is wrong with them is raised as it is."""
        self._timeout = settings.tool_timeout
        self._output_limit = settings.tool_output
        self._guard = Guard(settings, lookup)
        self._servers = McpServers(settings, self._guard)
        self._python = PythonTools(settings)
        self._keys = SearchKeys.of(settings)

    async def close(self) -> None:
        """Disconnect from servers and give up threads."""
        await self._servers.close()
        self._guard.close()

    async def list_tools(self, server: dict[str, Any], secrets: dict[str, Any], tenant: str) -> list[Listed]:
        """Return all that the server of a request's `mcp` tool has; raise ToolError.

        `secrets` are the request's: `{"tools": {server_label: {"headers", "authorization"}}, "provider_data"}`.
        """
        if connector := server.get("connector_id"):
            return self._listed_by_connector(connector)
        address = McpAddress.of(server, secrets)
        try:
            return await self._servers.ask(tenant, address, McpServer.list_tools)
        except ToolError as error:
            # The host alone: a path or a query may be the secret that opens what it leads to.
            log.info("tools.not_listed", host=address.url.raw_host, reason=error.reason)
            raise

    def toolbox(
        self,
        asked: list[dict[str, Any]],
        lists: dict[str, list[Listed]],
        taken: set[str],
        secrets: dict[str, Any],
        tenant: str,
    ) -> dict[str, Tool]:
        """Return the tools that a turn's model may call, by the names that it calls them by.

        `asked` are the request's tools, of which the client's own are left out; `lists` what `list_tools` returned, by
        server label; `taken` the names of the client's own. The same arguments make the same names.
        """
        offered = [(tool, listed) for tool in asked for listed in _offered(tool, lists)]
        names = unique_names(((tool.get("server_label") or "", listed["name"]) for tool, listed in offered), taken)
        made = (
            self._made(name, tool, listed, secrets, tenant) for name, (tool, listed) in zip(names, offered, strict=True)
        )
        return {tool.name: tool for tool in made if tool}

    def _listed_by_connector(self, connector: str) -> list[Listed]:
        if connector != CONNECTOR:
            raise ToolError(f"There is no connector '{connector}' here.", reason="no_connector")
        return [function.listed() for function in self._python.functions.values()]

    def _made(
        self, name: str, tool: dict[str, Any], listed: Listed, secrets: dict[str, Any], tenant: str
    ) -> Tool | None:
        if tool["type"] == "web_search":
            return WebSearch(name, tool, self._keys.choose(secrets), self._timeout, self._output_limit)
        if tool.get("connector_id"):
            return self._python_tool(name, tool, listed)
        return McpTool(
            name=name,
            definition=_definition(name, listed),
            on_uncertain=policy.on_uncertain(listed, tool.get("on_uncertain")),
            needs_approval=policy.needs_approval(listed, tool.get("require_approval"), default=True),
            shown={"server_label": tool["server_label"], "name": listed["name"]},
            server=tool,
            secrets=secrets,
            tenant=tenant,
            servers=self._servers,
            output_limit=self._output_limit,
        )

    def _python_tool(self, name: str, tool: dict[str, Any], listed: Listed) -> Tool | None:
        """Return an operator's tool as the operator has it now, None if it was removed since it was listed."""
        function = self._python.functions.get(listed["name"])
        if not function:
            return None
        asked = policy.needs_approval(listed, tool.get("require_approval"), default=False)
        return PythonTool(
            name=name,
            definition=_definition(name, listed),
            on_uncertain=tool.get("on_uncertain") or function.on_uncertain,
            needs_approval=function.needs_approval or asked,
            shown={"server_label": tool["server_label"], "name": listed["name"]},
            function=function,
            tools=self._python,
        )


def _offered(tool: dict[str, Any], lists: dict[str, list[Listed]]) -> list[Listed]:
    """Return what one of a request's tools offers the model."""
    match tool["type"]:
        case "web_search":
            return [{"name": web_search.NAME}]
        case "mcp":
            listed = lists.get(tool["server_label"], [])
            return [one for one in listed if policy.is_allowed(one, tool.get("allowed_tools"))]
    return []


def _definition(name: str, listed: Listed) -> dict[str, Any]:
    return {"name": name, "description": listed["description"] or "", "parameters": listed["input_schema"]}
