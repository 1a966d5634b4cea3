"""What the items and their parts hold that the API shows."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

type ItemStatus = Literal["in_progress", "completed", "incomplete"]


class Resource(BaseModel):
    """A part of what the API shows. A field without a default is always there."""

    model_config = ConfigDict(frozen=True)


# Parts


class TopLogprobResource(Resource):
    """A token that could have stood in another's place, and the logarithm of its probability."""

    token: str
    logprob: float
    bytes: list[int]


class LogprobResource(TopLogprobResource):
    """A token, the logarithm of its probability, and what else could have stood there."""

    top_logprobs: list[TopLogprobResource]


class UrlCitationResource(Resource):
    """A page that a span of the text rests on."""

    type: Literal["url_citation"]
    url: str
    title: str
    start_index: int
    end_index: int


class FileCitationResource(Resource):
    """A file that the text rests on, or that it made."""

    type: Literal["file_citation", "file_path", "container_file_citation"]
    file_id: str
    filename: str | None = None
    container_id: str | None = None
    index: int | None = None
    start_index: int | None = None
    end_index: int | None = None


class OutputTextContent(Resource):
    """Text that a model wrote."""

    type: Literal["output_text"]
    text: str
    annotations: list[Annotated[UrlCitationResource | FileCitationResource, Field(discriminator="type")]]
    logprobs: list[LogprobResource]


class RefusalContent(Resource):
    """A model's words that it will not answer."""

    type: Literal["refusal"]
    refusal: str


class InputTextContent(Resource):
    """Text that a client sent."""

    type: Literal["input_text"]
    text: str


class InputImageContent(Resource):
    """An image that a client sent, by its URL or whole in a data URL."""

    type: Literal["input_image"]
    image_url: str
    detail: Literal["low", "high", "auto"]


class InputFileContent(Resource):
    """A file that a client sent, by its URL or whole in base64."""

    type: Literal["input_file"]
    filename: str | None = None
    file_data: str | None = None
    file_url: str | None = None


class InputVideoContent(Resource):
    """A video that a client sent, by its URL or whole in a data URL."""

    type: Literal["input_video"]
    video_url: str


class SummaryTextContent(Resource):
    """A part of a summary of a model's reasoning."""

    type: Literal["summary_text"]
    text: str


class ReasoningTextContent(Resource):
    """A part of a model's reasoning."""

    type: Literal["reasoning_text"]
    text: str


type InputContent = Annotated[
    InputTextContent | InputImageContent | InputFileContent | InputVideoContent, Field(discriminator="type")
]


# Items


class MessageItem(Resource):
    """A message of a client, whose parts are input, or of a model, whose parts are output."""

    type: Literal["message"]
    id: str
    status: ItemStatus
    role: Literal["user", "system", "developer", "assistant"]
    content: list[
        Annotated[
            InputTextContent
            | InputImageContent
            | InputFileContent
            | InputVideoContent
            | OutputTextContent
            | RefusalContent,
            Field(discriminator="type"),
        ]
    ]
    phase: Literal["commentary", "final_answer"] | None = None


class ReasoningItem(Resource):
    """What a model thought before it answered."""

    type: Literal["reasoning"]
    id: str
    status: ItemStatus
    summary: list[SummaryTextContent]
    content: list[ReasoningTextContent]
    encrypted_content: str | None = None


class FunctionCallItem(Resource):
    """A model's call of a client's function."""

    type: Literal["function_call"]
    id: str
    call_id: str
    name: str
    arguments: str
    status: ItemStatus


class CustomToolCallItem(Resource):
    """A model's call of a client's tool that takes text."""

    type: Literal["custom_tool_call"]
    id: str
    call_id: str
    name: str
    input: str
    status: ItemStatus


class CallOutputItem(Resource):
    """What a client's function or custom tool returned for a call."""

    type: Literal["function_call_output", "custom_tool_call_output"]
    id: str
    call_id: str
    output: str | list[InputContent]
    status: ItemStatus


class ListedToolResource(Resource):
    """A tool as its server describes it."""

    name: str
    description: str | None
    input_schema: dict[str, Any]
    annotations: dict[str, Any] | None


class McpListToolsItem(Resource):
    """What tools an MCP server has, or why that cannot be told."""

    type: Literal["mcp_list_tools"]
    id: str
    server_label: str
    tools: list[ListedToolResource]
    error: str | None


class McpToolErrorResource(Resource):
    """A tool's own word that it has failed."""

    type: Literal["mcp_tool_execution_error"]
    content: Any


class McpProtocolErrorResource(Resource):
    """A server's refusal of a call, or a failure on the way to it."""

    type: Literal["mcp_protocol_error", "http_error"]
    code: int
    message: str


class McpCallItem(Resource):
    """A call of an MCP server's tool, with what came of it."""

    type: Literal["mcp_call"]
    id: str
    server_label: str
    name: str
    arguments: str
    output: str | None
    error: str | Annotated[McpToolErrorResource | McpProtocolErrorResource, Field(discriminator="type")] | None
    approval_request_id: str | None
    status: Literal["in_progress", "calling", "completed", "incomplete", "failed"]


class McpApprovalRequestItem(Resource):
    """A call that is made once its client approves of it."""

    type: Literal["mcp_approval_request"]
    id: str
    server_label: str
    name: str
    arguments: str


class McpApprovalResponseItem(Resource):
    """Whether a client approves of a call."""

    type: Literal["mcp_approval_response"]
    id: str
    approval_request_id: str
    approve: bool
    reason: str | None


class SourceResource(Resource):
    """A page that a search has found."""

    type: Literal["url"]
    url: str


class SearchResource(Resource):
    """The model looked for pages."""

    type: Literal["search"]
    query: str | None = None
    queries: list[str] | None = None
    sources: list[SourceResource] | None = None


class OpenPageResource(Resource):
    """The model opened a page."""

    type: Literal["open_page"]
    url: str | None = None


class FindInPageResource(Resource):
    """The model looked for a text in a page."""

    type: Literal["find_in_page"]
    url: str
    pattern: str


class SearchResultResource(Resource):
    """A page that a search has found, with what the model reads of it."""

    url: str
    title: str
    snippet: str


class FoundTextResource(Resource):
    """What a search has found, where it does not tell one page from another."""

    text: str


class WebSearchCallItem(Resource):
    """A search of the web, with what it has found, or why it has failed."""

    type: Literal["web_search_call"]
    id: str
    status: Literal["in_progress", "searching", "completed", "failed", "incomplete"]
    action: Annotated[SearchResource | OpenPageResource | FindInPageResource, Field(discriminator="type")] | None = None
    results: list[SearchResultResource | FoundTextResource] | None = None
    error: str | None = None


class CompactionItem(Resource):
    """All that came before, summed up and sealed. Only while it is added it has a status."""

    type: Literal["compaction"]
    id: str
    encrypted_content: str
    status: ItemStatus | None = None


type ItemResource = Annotated[
    MessageItem
    | ReasoningItem
    | FunctionCallItem
    | CustomToolCallItem
    | CallOutputItem
    | McpListToolsItem
    | McpCallItem
    | McpApprovalRequestItem
    | McpApprovalResponseItem
    | WebSearchCallItem
    | CompactionItem,
    Field(discriminator="type"),
]
