"""The operator's own tools: Python functions that the worker's `tools_yaml` names."""

import asyncio
import contextvars
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import PydanticSerializationError, to_json

from turnstream.logs import fault, log
from turnstream_worker.settings import WorkerSettings
from turnstream_worker.tools.signature import Signature
from turnstream_worker.tools.threads import Threads
from turnstream_worker.tools.tool import OnUncertain, ToolError, ToolResult

CONNECTOR = "python"
"""The `connector_id` by which a client asks for these."""


class _Registration(BaseModel):
    """One entry of the file."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    call: Annotated[str, Field(pattern=r"^[\w.]+:[\w.]+$")]  # module:attribute
    on_uncertain: OnUncertain = "fail"
    needs_approval: bool = False


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    tools: list[_Registration]


@dataclass(frozen=True, slots=True)
class Function:
    """A function, and how it is to be treated."""

    name: str
    description: str
    on_uncertain: OnUncertain
    needs_approval: bool
    signature: Signature
    run: Callable[..., Any]

    @classmethod
    def load(cls, registration: _Registration) -> Self:
        """Import a function. What is wrong with it is raised as it is: a worker does not start with half its tools."""
        module, _, attribute = registration.call.partition(":")
        function = attrgetter(attribute)(import_module(module))
        return cls(
            registration.name,
            inspect.getdoc(function) or "",
            registration.on_uncertain,
            registration.needs_approval,
            Signature(function),
            function,
        )

    def listed(self) -> dict[str, Any]:
        """Return it as an MCP server would list it."""
        return {
            "name": self.name,
            "description": self.description,
            "input_schema": self.signature.schema,
            "annotations": None,
        }


class PythonTools:
    """Runs the operator's functions: those that are async on the loop, others in a bounded number of threads."""

    def __init__(self, settings: WorkerSettings) -> None:
        self.functions = load(settings.tools_yaml) if settings.tools_yaml else {}
        self._timeout = settings.tool_timeout
        self._output_limit = settings.tool_output
        self._threads = Threads(settings.tool_threads if self.functions else 0)

    async def call(self, function: Function, arguments: dict[str, Any], key: str) -> ToolResult:
        """Run a function; what it raises is logged, and the model is told only the message of a ToolError.

        Only where the call itself is cancelled does it end by CancelledError: a function may raise that, too.
        """
        try:
            async with asyncio.timeout(self._timeout) as clock:
                returned = await self._run(function.run, function.signature.bind(arguments, key))
            return ToolResult(self._told(returned))
        except ToolError as error:
            return ToolResult(error.message, failed=True)
        except (Exception, asyncio.CancelledError, SystemExit) as error:
            if isinstance(error, asyncio.CancelledError) and _is_wanted_no_more():
                raise
            if isinstance(error, TimeoutError) and clock.expired():
                return ToolResult(f"The tool did not answer within {self._timeout:g} seconds.", failed=True)
            log.warning("tool.raised", tool=function.name, **fault(error))
            return ToolResult("The tool failed.", failed=True)

    async def _run(self, run: Callable[..., Any], bound: dict[str, Any]) -> Any:
        if inspect.iscoroutinefunction(run):
            return await run(**bound)
        context = contextvars.copy_context()
        return await self._threads.run(partial(context.run, run, **bound))

    def _told(self, returned: Any) -> str:
        try:
            output = returned if isinstance(returned, str) else to_json(returned).decode()
        except PydanticSerializationError as error:
            raise ToolError("The tool returned what is not JSON.") from error
        if len(output.encode()) > self._output_limit:
            raise ToolError(f"The tool's result is larger than {self._output_limit} bytes.")
        return output


@dataclass(frozen=True, slots=True)
class PythonTool:
    """One of the operator's functions in a turn."""

    name: str
    definition: dict[str, Any]
    on_uncertain: OnUncertain
    needs_approval: bool
    shown: dict[str, Any]
    function: Function
    tools: PythonTools
    kind: Literal["mcp_call"] = "mcp_call"

    async def call(self, arguments: dict[str, Any], key: str) -> ToolResult:
        """Run the function."""
        return await self.tools.call(self.function, arguments, key)


def _is_wanted_no_more() -> bool:
    """Tell whether what runs now was cancelled from outside."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def load(path: Path) -> dict[str, Function]:
    """Return the functions that a file names; raise ValueError if the file is wrong, or two have one name."""
    registrations = _File.model_validate(yaml.safe_load(path.read_text())).tools
    functions = {registration.name: Function.load(registration) for registration in registrations}
    if len(functions) < len(registrations):
        raise ValueError(f"two tools in {path} have one name")
    return functions
