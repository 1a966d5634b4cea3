"""What a client may send, made canonical as it is read: text becomes items, references become ids."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Discriminator, Field, StringConstraints, model_validator

from turnstream.errors import InvalidRequestError
from turnstream_gateway.bodies import Body, Id, Metadata, Name, Strict
from turnstream_gateway.include import Include
from turnstream_gateway.items import InputItem
from turnstream_gateway.prompt_reference import PromptReference
from turnstream_gateway.tools import ToolChoice, Tools, check_tools

ITEMS_LIMIT = 1000  # items in one input
NEW_ITEMS_LIMIT = 20  # items put into a conversation at a time

type Label = Annotated[str, StringConstraints(max_length=256)]  # what a client calls something
type ShortLabel = Annotated[str, StringConstraints(max_length=64)]
type Model = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[^\x00]*$")]


def _as_items(value: Any) -> Any:
    return [{"role": "user", "content": value}] if isinstance(value, str) else value


type Items = Annotated[list[InputItem], Field(min_length=1, max_length=ITEMS_LIMIT, fail_fast=True)]
type Input = Annotated[Items, BeforeValidator(_as_items, json_schema_input_type=str | Items)]


class ConversationObject(Strict):
    """A conversation by its id, as a response shows it."""

    id: Id


def _as_id(value: Any) -> Any:
    return value.get("id") if isinstance(value, dict) and set(value) == {"id"} else value


type ConversationId = Annotated[Id, BeforeValidator(_as_id, json_schema_input_type=Id | ConversationObject)]


# Parameters that are objects


class PlainText(Strict):
    """Text in no particular form."""

    type: Literal["text"]


class JsonObject(Strict):
    """Some JSON object."""

    type: Literal["json_object"]


class JsonSchema(Strict):
    """JSON that fits a schema."""

    type: Literal["json_schema"]
    name: Name
    schema_: Annotated[dict[str, Any], Field(alias="schema")]
    description: str | None = None
    strict: bool = False


class Text(Strict):
    """The form of the text that the model writes."""

    format: Annotated[PlainText | JsonObject | JsonSchema, Discriminator("type")] = PlainText(type="text")
    verbosity: Literal["low", "medium", "high"] | None = None


class ReasoningOptions(Strict):
    """How much the model is to think, and whether its thoughts are summed up."""

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None


class StreamOptions(Strict):
    """How the stream is sent."""

    include_obfuscation: bool = True


class CompactionEntry(Strict):
    """Sum up what came before once it has grown to so many tokens."""

    type: Literal["compaction"]
    compact_threshold: Annotated[int, Field(ge=1000)]


# What a model is asked

# Parameters of chat completions that Turnstream sets itself, and what sets them.
INSTEAD = {
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "response_format": "text.format",
    "verbosity": "text.verbosity",
    "reasoning_effort": "reasoning.effort",
    "logprobs": "include",
    "functions": "tools",
    "function_call": "tool_choice",
}
REFUSED = {
    "n": "A response has one answer.",
    "modalities": "Answers are text.",
    "audio": "Answers are text.",
    "guardrails": "Guardrails are not available, and nothing is to run as if they were.",
    "moderation": "Moderation is not available, and nothing is to run as if it were.",
    "background_options": "A background response runs as soon as it can.",
}
# What is not asked of the model, or stands elsewhere in a turn's row.
_NOT_KEPT = {
    "on_busy",
    "input",
    "conversation",
    "previous_response_id",
    "stream",
    "prompt",
    "instructions",
    "tools",
    "text",
}


class Question(Body):
    """What a model is asked; the body of `POST /v1/responses/compact`."""

    model: Model
    input: Input | None = None
    instructions: str | Items | None = None
    conversation: ConversationId | None = None
    previous_response_id: Id | None = None
    prompt_cache_key: ShortLabel | None = None

    @model_validator(mode="after")
    def _one_past(self) -> Self:
        if self.conversation and self.previous_response_id:
            raise InvalidRequestError(
                "'conversation' and 'previous_response_id' cannot be used together: both say what came before.",
                code="mutually_exclusive",
                param="previous_response_id",
            )
        return self

    @property
    def secrets(self) -> dict[str, Any]:
        """What is sent along for its tools alone and kept apart, by the labels of their servers."""
        return {}

    @property
    def has_past(self) -> bool:
        """Whether something comes before its input."""
        return self.conversation is not None or self.previous_response_id is not None

    def parameters(self) -> dict[str, Any]:
        """Return what a turn keeps of it, as JSON: what was set, but for what stands elsewhere in the turn's row."""
        return self.model_dump(mode="json", exclude=_NOT_KEPT | set(self.model_extra or ()), exclude_none=True)


class CountTokens(Question):
    """The body of `POST /v1/responses/input_tokens`."""

    tools: Tools = Field([])
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    text: Text | None = None
    reasoning: ReasoningOptions | None = None
    truncation: Literal["auto", "disabled"] | None = None

    @model_validator(mode="after")
    def _choosable(self) -> Self:
        check_tools(self.tools, self.tool_choice)
        return self

    @property
    def secrets(self) -> dict[str, Any]:
        """What is sent along for its tools alone."""
        return {tool.server_label: tool.secrets for tool in self.tools if tool.type == "mcp" and tool.secrets}

    def parameters(self) -> dict[str, Any]:
        """Return what a turn keeps of it."""
        kept = super().parameters()
        if self.tools:  # with their nulls, which the specification requires
            kept["tools"] = [tool.model_dump(mode="json") for tool in self.tools]
        if self.text:
            verbosity = {"verbosity": self.text.verbosity} if self.text.verbosity else {}
            kept["text"] = {"format": self.text.format.model_dump(mode="json", by_alias=True), **verbosity}
        return kept


class CreateResponse(CountTokens):
    """The body of `POST /v1/responses`. What the API does not know goes to the model's provider as it is."""

    model_config = ConfigDict(extra="allow", frozen=True)

    prompt: PromptReference | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    include: Include = Field([])
    user: Label | None = None
    safety_identifier: ShortLabel | None = None
    max_output_tokens: Annotated[int, Field(ge=16)] | None = None
    max_tool_calls: Annotated[int, Field(ge=1)] | None = None
    max_infer_iters: Annotated[int, Field(ge=1)] | None = None  # Llama Stack's: calls of the model in a turn
    metadata: Metadata | None = None
    store: bool | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast", "ultrafast"] | None = None
    context_management: Annotated[list[CompactionEntry], Field(max_length=1)] | None = None
    background: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    # Turnstream's own; the operator's limits are checked where the turn is accepted.
    max_attempts: Annotated[int, Field(ge=1)] | None = None  # times that it is begun before it fails
    deadline: Annotated[float, Field(gt=0)] | None = None  # seconds from its acceptance
    grace: Annotated[float, Field(ge=0)] | None = None  # seconds that it may go on for when its worker is to stop
    on_busy: Literal["enqueue", "reject", "interrupt", "rollback"] | None = None  # while its conversation has a turn
    on_disconnect: Literal["continue", "cancel"] | None = None  # once nobody reads it any more
    disconnect_grace: Annotated[float, Field(ge=0)] | None = None  # seconds for somebody to come back before that

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.background and self.store is False:
            message = "A background response has to be stored: it is read when it has ended."
            raise InvalidRequestError(message, code="invalid_value", param="store")
        if self.input is None and not (self.has_past or self.prompt):
            message = "Missing required parameter: 'input'."
            raise InvalidRequestError(message, code="missing_required_parameter", param="input")
        if self.stream_options and not self.stream:
            message = "'stream_options' is for responses with 'stream' set to true."
            raise InvalidRequestError(message, code="invalid_value", param="stream_options")
        if self.on_busy and not self.conversation:
            message = "'on_busy' is about the turns of a 'conversation', and there is none."
            raise InvalidRequestError(message, code="invalid_value", param="on_busy")
        if self.background and self.on_disconnect == "cancel":
            message = "A background response goes on without its client, and cannot end with it."
            raise InvalidRequestError(message, code="invalid_value", param="on_disconnect")
        if self.disconnect_grace is not None and self.on_disconnect != "cancel":
            message = "'disconnect_grace' is for responses with 'on_disconnect' set to 'cancel'."
            raise InvalidRequestError(message, code="invalid_value", param="disconnect_grace")
        for name in self.model_extra or ():
            if name in INSTEAD:
                message = f"Unknown parameter: '{name}'. Use '{INSTEAD[name]}'."
                raise InvalidRequestError(message, code="unknown_parameter", param=name)
            if name in REFUSED:
                message = f"Unsupported parameter: '{name}'. {REFUSED[name]}"
                raise InvalidRequestError(message, code="unsupported_parameter", param=name)
        return self

    def parameters(self) -> dict[str, Any]:
        """Return what a turn keeps of it."""
        kept = super().parameters()
        return {**kept, "provider": self.model_extra} if self.model_extra else kept


# Conversations


class CreateConversation(Body):
    """The body of `POST /v1/conversations`."""

    metadata: Metadata | None = None
    items: Annotated[list[InputItem], Field(max_length=NEW_ITEMS_LIMIT, fail_fast=True)] = Field([])


class UpdateConversation(Body):
    """The body of `POST /v1/conversations/{id}`."""

    metadata: Metadata | None = None


class CreateItems(Body):
    """The body of `POST /v1/conversations/{id}/items`."""

    items: Annotated[list[InputItem], Field(min_length=1, max_length=NEW_ITEMS_LIMIT, fail_fast=True)]
