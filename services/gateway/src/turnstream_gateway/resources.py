"""What the API's resources hold. Nothing is validated against these models at run time: /openapi.json shows them."""

from typing import Annotated, Any, Literal

from pydantic import Field

from turnstream_gateway.resource_items import ItemResource, Resource
from turnstream_gateway.resource_tools import (
    AllowedToolsResource,
    CustomToolResource,
    FunctionToolResource,
    McpChoiceResource,
    McpToolResource,
    NamedToolResource,
    TextFormatResource,
    WebSearchChoiceResource,
    WebSearchToolResource,
)

# A response


class ResponseError(Resource):
    """Why a response has failed."""

    code: str
    message: str


class IncompleteDetails(Resource):
    """Why a response is incomplete: which of its limits it has reached, or that a filter has cut it off."""

    reason: Literal[
        "max_output_tokens", "content_filter", "max_tool_calls", "max_infer_iters", "deadline", "max_output_size"
    ]


class InputTokensDetails(Resource):
    """Tokens that were read, by kind."""

    cached_tokens: int


class OutputTokensDetails(Resource):
    """Tokens that were written, by kind."""

    reasoning_tokens: int


class UsageResource(Resource):
    """What all of a response's calls of models have used, as their providers count it."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class JsonObjectResource(Resource):
    """Some JSON object."""

    type: Literal["json_object"]


class JsonSchemaResource(Resource):
    """JSON that fits a schema."""

    type: Literal["json_schema"]
    name: str
    description: str | None
    schema_: Annotated[dict[str, Any], Field(alias="schema")]
    strict: bool


class TextResource(Resource):
    """The form of the text that the model writes."""

    format: Annotated[TextFormatResource | JsonObjectResource | JsonSchemaResource, Field(discriminator="type")]
    verbosity: Literal["low", "medium", "high"] | None = None


class ReasoningOptionsResource(Resource):
    """How much the model is to think, and whether its thoughts are summed up."""

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None
    summary: Literal["auto", "concise", "detailed"] | None


class ConversationName(Resource):
    """The conversation that a response belongs to."""

    id: str


class PromptInUse(Resource):
    """The prompt that a response was made with, and the version that was used."""

    id: str
    version: str
    variables: dict[str, Any] | None


class ResponseResource(Resource):
    """A turn, as it is or as it has ended."""

    id: str
    object: Literal["response"]
    created_at: int  # seconds since the epoch
    completed_at: int | None
    status: Literal["queued", "in_progress", "completed", "failed", "incomplete", "cancelled"]
    incomplete_details: IncompleteDetails | None
    model: str
    previous_response_id: str | None
    conversation: ConversationName | None
    prompt: PromptInUse | None
    instructions: str | list[ItemResource] | None
    output: list[ItemResource]
    error: ResponseError | None
    usage: UsageResource | None
    tools: list[
        Annotated[
            FunctionToolResource | CustomToolResource | McpToolResource | WebSearchToolResource,
            Field(discriminator="type"),
        ]
    ]
    tool_choice: (
        Literal["none", "auto", "required"]
        | Annotated[
            NamedToolResource | McpChoiceResource | WebSearchChoiceResource | AllowedToolsResource,
            Field(discriminator="type"),
        ]
    )
    parallel_tool_calls: bool
    max_output_tokens: int | None
    max_tool_calls: int | None
    temperature: float
    top_p: float
    top_logprobs: int
    presence_penalty: float
    frequency_penalty: float
    text: TextResource
    reasoning: ReasoningOptionsResource | None
    truncation: Literal["auto", "disabled"]
    service_tier: str
    store: bool
    background: bool
    metadata: dict[str, str]
    user: str | None
    safety_identifier: str | None
    prompt_cache_key: str | None


# Questions about a response that is not created


class InputTokensResource(Resource):
    """How many tokens a model would read, as its provider counts them."""

    object: Literal["response.input_tokens"]
    input_tokens: int


class CompactionResource(Resource):
    """What a conversation is summed up to: its user's messages, and one item that stands for all before it."""

    id: str
    object: Literal["response.compaction"]
    created_at: int  # seconds since the epoch
    output: list[ItemResource]
    usage: UsageResource | None


# Other resources


class ConversationResource(Resource):
    """A conversation, without its items."""

    id: str
    object: Literal["conversation"]
    created_at: int  # seconds since the epoch
    metadata: dict[str, str]


class PromptResource(Resource):
    """A version of a prompt, as Llama Stack's API has it."""

    prompt_id: str
    version: int
    prompt: str
    variables: list[str]
    is_default: bool


class ModelResource(Resource):
    """A model, in both shapes that clients read: OpenAI's and Llama Stack's."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    custom_metadata: dict[str, Any]
    identifier: str
    model_type: str
    provider_id: str
    provider_resource_id: str
    type: Literal["model"]
    metadata: dict[str, Any]


class ProviderHealth(Resource):
    """How a provider is, as Llama Stack says it."""

    status: str


class ProviderResource(Resource):
    """A provider of Llama Stack's, with no more of its configuration than anybody may know."""

    api: str
    provider_id: str
    provider_type: str
    config: dict[str, Any]
    health: ProviderHealth


class RouteResource(Resource):
    """A route, in Llama Stack's shape."""

    route: str
    method: str
    provider_types: list[str]


class DeletedResponse(Resource):
    """What is left of a response."""

    id: str
    object: Literal["response"]
    deleted: Literal[True]


class DeletedConversation(Resource):
    """What is left of a conversation."""

    id: str
    object: Literal["conversation.deleted"]
    deleted: Literal[True]


class HealthResource(Resource):
    """Whether the gateway reaches what it needs."""

    status: Literal["OK"]


class VersionResource(Resource):
    """Which version the gateway is of."""

    version: str


# Lists


class PageResource(Resource):
    """A page of a list."""

    object: Literal["list"]
    first_id: str | None
    last_id: str | None
    has_more: bool


class ResponseList(PageResource):
    """A page of the list of responses."""

    data: list[ResponseResource]


class ItemList(PageResource):
    """A page of a list of items."""

    data: list[ItemResource]


class ModelList(Resource):
    """All models."""

    object: Literal["list"]
    data: list[ModelResource]


class PromptList(Resource):
    """All prompts in their default versions, or all versions of one."""

    data: list[PromptResource]


class ProviderList(Resource):
    """All providers."""

    data: list[ProviderResource]


class RouteList(Resource):
    """All routes."""

    data: list[RouteResource]


# Failures


class FailureDetails(Resource):
    """What went wrong: words for people, a code for programs, and the parameter that is to blame."""

    message: str
    type: str
    code: str | None
    param: str | None


class Failure(Resource):
    """The answer to a request that failed."""

    error: FailureDetails
