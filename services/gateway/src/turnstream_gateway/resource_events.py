"""What the events of a response's stream hold, by the names of the Open Responses specification."""

from typing import Annotated, Literal

from pydantic import Field

from turnstream_gateway.resource_items import (
    ItemResource,
    LogprobResource,
    OutputTextContent,
    ReasoningTextContent,
    RefusalContent,
    Resource,
    SummaryTextContent,
)
from turnstream_gateway.resources import FailureDetails, ResponseResource


class _Event(Resource):
    """An event; numbers are contiguous, from 0."""

    sequence_number: Annotated[int, Field(ge=0)]


class ResponseEvent(_Event):
    """The response as it is at its beginning."""

    type: Literal["response.created", "response.in_progress"]
    response: ResponseResource


class LogResource(Resource):
    """What proves that a client has all events before the terminal one.

    The digest is `sha256:` and the hex SHA-256 of their lines of JSON, each with a line break behind it. It is null
    where the log had lost its beginning.
    """

    count: int
    digest: str | None


class TerminalEvent(_Event):
    """The response as it has ended, and what proves that a client has all events before."""

    type: Literal["response.completed", "response.failed", "response.incomplete"]
    response: ResponseResource
    log: LogResource


class ItemEvent(_Event):
    """An item begins, or is whole."""

    type: Literal["response.output_item.added", "response.output_item.done"]
    response_id: str
    output_index: int
    item: ItemResource


class _OfItem(_Event):
    """An event of an item."""

    item_id: str
    output_index: int


class _Delta(_OfItem):
    """A piece of what an item holds. The obfuscation hides its length from who watches the wire."""

    delta: str
    obfuscation: str | None = None


# Parts of an item's content


class PartEvent(_OfItem):
    """A part of an item's content begins, or is whole."""

    type: Literal["response.content_part.added", "response.content_part.done"]
    content_index: int
    part: Annotated[OutputTextContent | RefusalContent | ReasoningTextContent, Field(discriminator="type")]


class TextDelta(_Delta):
    """A piece of a text."""

    type: Literal["response.output_text.delta"]
    content_index: int
    logprobs: list[LogprobResource]


class TextDone(_OfItem):
    """A text is whole."""

    type: Literal["response.output_text.done"]
    content_index: int
    text: str
    logprobs: list[LogprobResource]


class RefusalDelta(_Delta):
    """A piece of a refusal."""

    type: Literal["response.refusal.delta"]
    content_index: int


class RefusalDone(_OfItem):
    """A refusal is whole."""

    type: Literal["response.refusal.done"]
    content_index: int
    refusal: str


class ReasoningDelta(_Delta):
    """A piece of a model's reasoning."""

    type: Literal["response.reasoning.delta"]
    content_index: int


class ReasoningDone(_OfItem):
    """A model's reasoning is whole."""

    type: Literal["response.reasoning.done"]
    content_index: int
    text: str


# Parts of a summary of reasoning


class SummaryPartEvent(_OfItem):
    """A part of a summary begins, or is whole."""

    type: Literal["response.reasoning_summary_part.added", "response.reasoning_summary_part.done"]
    summary_index: int
    part: SummaryTextContent


class SummaryDelta(_Delta):
    """A piece of a summary."""

    type: Literal["response.reasoning_summary_text.delta"]
    summary_index: int


class SummaryDone(_OfItem):
    """A part of a summary is whole."""

    type: Literal["response.reasoning_summary_text.done"]
    summary_index: int
    text: str


# Calls


class CallDelta(_Delta):
    """A piece of what a tool is called with."""

    type: Literal[
        "response.function_call_arguments.delta",
        "response.custom_tool_call_input.delta",
        "response.mcp_call_arguments.delta",
    ]


class ArgumentsDone(_OfItem):
    """The arguments of a function, or of a server's tool, are whole."""

    type: Literal["response.function_call_arguments.done", "response.mcp_call_arguments.done"]
    arguments: str


class InputDone(_OfItem):
    """A custom tool's input is whole."""

    type: Literal["response.custom_tool_call_input.done"]
    input: str


class ToolProgress(_OfItem):
    """How far what a server runs has come."""

    type: Literal[
        "response.mcp_list_tools.in_progress",
        "response.mcp_list_tools.completed",
        "response.mcp_list_tools.failed",
        "response.mcp_call.in_progress",
        "response.mcp_call.completed",
        "response.mcp_call.failed",
        "response.web_search_call.in_progress",
        "response.web_search_call.searching",
        "response.web_search_call.completed",
    ]


# Failure of the stream itself


class ErrorEvent(_Event):
    """The stream cannot go on, while the response may. OpenAI's SDK reads the flat fields, others `error`."""

    type: Literal["error"]
    error: FailureDetails
    code: str | None
    message: str
    param: str | None


type StreamEvent = Annotated[
    ResponseEvent
    | TerminalEvent
    | ItemEvent
    | PartEvent
    | TextDelta
    | TextDone
    | RefusalDelta
    | RefusalDone
    | ReasoningDelta
    | ReasoningDone
    | SummaryPartEvent
    | SummaryDelta
    | SummaryDone
    | CallDelta
    | ArgumentsDone
    | InputDone
    | ToolProgress
    | ErrorEvent,
    Field(discriminator="type"),
]
