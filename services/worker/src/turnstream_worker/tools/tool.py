"""What a tool is to the engine, whoever provides it."""

from dataclasses import dataclass
from typing import Any, Literal, Protocol

from turnstream.errors import TerminalError

type OnUncertain = Literal["retry", "fail", "ask"]
"""What to do about a call that was begun by a worker that then died: run it again, give it up, or ask the client."""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a call came to."""

    output: str  # what the model is told
    failed: bool = False  # a tool's error: the model is told, and the turn goes on
    results: list[dict[str, Any]] | None = None  # of a web search: {"title", "url", "snippet"} each


class Tool(Protocol):
    """A tool that the model may call in a turn."""

    @property
    def name(self) -> str:
        """As the model calls it; unique in the turn."""

    @property
    def definition(self) -> dict[str, Any]:
        """A chat completion's function: `name`, `description`, `parameters`."""

    @property
    def on_uncertain(self) -> OnUncertain:
        """What to do about a call that may have run."""

    @property
    def needs_approval(self) -> bool:
        """Whether the client is asked before each call."""

    @property
    def kind(self) -> Literal["mcp_call", "web_search_call"]:
        """The type of a call's item."""

    @property
    def shown(self) -> dict[str, Any]:
        """The item's fields besides arguments and output: `server_label` and the server's own `name` of an mcp_call."""

    async def call(self, arguments: dict[str, Any], key: str) -> ToolResult:
        """Run the tool; a call with the same idempotency key may have been begun before.

        What goes wrong with the tool is a result that has failed, never an error.
        """


class ToolError(TerminalError):
    """A tool, or whoever provides it, failed; the message is fit for the client and the model.

    `reason` is for the log. `broken` says that the way to the server is of no more use.
    """

    def __init__(self, message: str, *, reason: str = "failed", broken: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.broken = broken
