"""The items that a client may send, and the canonical form in which they are stored."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, StringConstraints, Tag, model_validator

from turnstream.ids import item_id
from turnstream.turns import Item
from turnstream_gateway.bodies import Id, Name, Strict
from turnstream_gateway.tool_items import McpApprovalRequest, McpApprovalResponse, McpCall, McpListTools, WebSearchCall

PARTS_LIMIT = 1000  # parts of one message

type CallId = Annotated[str, StringConstraints(min_length=1, max_length=128)]
type Status = Literal["in_progress", "completed", "incomplete"]
type Url = Annotated[str, StringConstraints(min_length=1)]


# Parts of a message


class InputText(Strict):
    """Text."""

    type: Literal["input_text", "output_text", "text"]
    text: str
    # What an output has, which clients send back under any role.
    annotations: Annotated[list[dict[str, Any]], Field(fail_fast=True)] | None = None
    logprobs: Annotated[list[dict[str, Any]], Field(fail_fast=True)] | None = None

    def part(self) -> dict[str, Any]:
        """Return it as it is stored."""
        return {"type": "input_text", "text": self.text}


class InputImage(Strict):
    """An image, by its URL or whole in a data URL."""

    type: Literal["input_image"]
    image_url: Url
    detail: Literal["auto", "low", "high"] = "auto"

    def part(self) -> dict[str, Any]:
        """Return it as it is stored."""
        return self.model_dump()


class InputFile(Strict):
    """A file, by its URL or whole in base64."""

    type: Literal["input_file"]
    filename: Annotated[str, StringConstraints(max_length=256)] | None = None
    file_data: str | None = None
    file_url: Url | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.file_data is None) == (self.file_url is None):
            raise ValueError("it takes one of 'file_data' and 'file_url'")
        return self

    def part(self) -> dict[str, Any]:
        """Return it as it is stored."""
        return self.model_dump(exclude_none=True)


class InputVideo(Strict):
    """A video, by its URL or whole in a data URL."""

    type: Literal["input_video"]
    video_url: Url

    def part(self) -> dict[str, Any]:
        """Return it as it is stored."""
        return self.model_dump()


class UrlCitation(Strict):
    """A page that a span of the text rests on."""

    type: Literal["url_citation"]
    url: str
    title: str
    start_index: Annotated[int, Field(ge=0)]
    end_index: Annotated[int, Field(ge=0)]


class FileCitation(Strict):
    """A file that the text rests on, or that it made."""

    type: Literal["file_citation", "file_path", "container_file_citation"]
    file_id: str
    filename: str | None = None
    container_id: str | None = None
    index: int | None = None
    start_index: int | None = None
    end_index: int | None = None


type Annotation = Annotated[UrlCitation | FileCitation, Discriminator("type")]


class TopLogprob(Strict):
    """A token that could have stood in another's place, and the logarithm of its probability."""

    token: str
    logprob: float
    bytes: list[int] = Field([])


class Logprob(TopLogprob):
    """A token, the logarithm of its probability, and what else could have stood there."""

    top_logprobs: list[TopLogprob] = Field([])


class OutputText(Strict):
    """Text that a model wrote."""

    type: Literal["output_text", "input_text", "text"]
    text: str
    annotations: Annotated[list[Annotation], Field(fail_fast=True)] = Field([])
    logprobs: Annotated[list[Logprob], Field(fail_fast=True)] = Field([])

    def part(self) -> dict[str, Any]:
        """Return it as it is stored."""
        annotations = [annotation.model_dump(exclude_none=True) for annotation in self.annotations]
        logprobs = [logprob.model_dump() for logprob in self.logprobs]
        return {"type": "output_text", "text": self.text, "annotations": annotations, "logprobs": logprobs}


class Refusal(Strict):
    """A model's words that it will not answer."""

    type: Literal["refusal"]
    refusal: str

    def part(self) -> dict[str, Any]:
        """Return it as it is stored."""
        return self.model_dump()


def _as_parts(value: Any) -> Any:
    return [{"type": "text", "text": value}] if isinstance(value, str) else value


# Lists end at their first fault: a body has room for a million, and to tell of each takes long.
type InputPart = Annotated[InputText | InputImage | InputFile | InputVideo, Discriminator("type")]
type OutputPart = Annotated[OutputText | Refusal, Discriminator("type")]
type SomeParts[Part] = Annotated[list[Part], Field(min_length=1, max_length=PARTS_LIMIT, fail_fast=True)]
type AnyParts[Part] = Annotated[list[Part], Field(max_length=PARTS_LIMIT, fail_fast=True)]
type TextParts = Annotated[
    SomeParts[InputText], BeforeValidator(_as_parts, json_schema_input_type=str | SomeParts[InputText])
]
type InputParts = Annotated[
    SomeParts[InputPart], BeforeValidator(_as_parts, json_schema_input_type=str | SomeParts[InputPart])
]
type OutputParts = Annotated[
    AnyParts[OutputPart], BeforeValidator(_as_parts, json_schema_input_type=str | AnyParts[OutputPart])
]


# Items


class _Message(Strict):
    """A message of somebody."""

    type: Literal["message"] = "message"
    id: str | None = None
    status: Status = "completed"

    def _item(self, owner: str, role: str, content: list[dict[str, Any]]) -> Item:
        return {
            "type": "message",
            "id": item_id("msg_", owner),
            "status": self.status,
            "role": role,
            "content": content,
        }


class UserMessage(_Message):
    """A message of the user."""

    role: Literal["user"]
    content: InputParts

    def item(self, owner: str) -> Item:
        """Return it as it is stored with its owner: a turn or a conversation."""
        return self._item(owner, self.role, [part.part() for part in self.content])


class SystemMessage(_Message):
    """A message of who runs the model."""

    role: Literal["system", "developer"]
    content: TextParts

    def item(self, owner: str) -> Item:
        """Return it as it is stored."""
        return self._item(owner, self.role, [part.part() for part in self.content])


class AssistantMessage(_Message):
    """A message of a model."""

    role: Literal["assistant"]
    content: OutputParts
    phase: Literal["commentary", "final_answer"] | None = None

    def item(self, owner: str) -> Item:
        """Return it as it is stored."""
        item = self._item(owner, self.role, [part.part() for part in self.content])
        return {**item, "phase": self.phase} if self.phase else item


class SummaryText(Strict):
    """A part of a summary of a model's reasoning."""

    type: Literal["summary_text"]
    text: str


class ReasoningText(Strict):
    """A part of a model's reasoning."""

    type: Literal["reasoning_text"]
    text: str


class Reasoning(Strict):
    """What a model thought before it answered."""

    type: Literal["reasoning"]
    id: str | None = None
    summary: Annotated[list[SummaryText], Field(fail_fast=True)]
    content: Annotated[list[ReasoningText], Field(fail_fast=True)] = Field([])
    encrypted_content: str | None = None
    status: Status = "completed"

    def item(self, owner: str) -> Item:
        """Return it as it is stored."""
        return {**self.model_dump(exclude_none=True), "id": item_id("rs_", owner)}


class FunctionCall(Strict):
    """A call that a model made earlier."""

    type: Literal["function_call"]
    id: str | None = None
    call_id: CallId
    name: Name
    arguments: str
    status: Status = "completed"

    def item(self, owner: str) -> Item:
        """Return it as it is stored."""
        return {**self.model_dump(), "id": item_id("fc_", owner)}


class CustomToolCall(Strict):
    """A call of a tool that takes text, which a model made earlier."""

    type: Literal["custom_tool_call"]
    id: str | None = None
    call_id: CallId
    name: Name
    input: str
    status: Status = "completed"

    def item(self, owner: str) -> Item:
        """Return it as it is stored."""
        return {**self.model_dump(), "id": item_id("ctc_", owner)}


class _CallOutput(Strict):
    """What a client's tool returned for a call."""

    id: str | None = None
    call_id: CallId
    output: str | SomeParts[InputPart]
    status: Status = "completed"

    def _item(self, kind: str, owner: str, prefix: str) -> Item:
        output = self.output if isinstance(self.output, str) else [part.part() for part in self.output]
        return {
            "type": kind,
            "id": item_id(prefix, owner),
            "call_id": self.call_id,
            "output": output,
            "status": self.status,
        }


class FunctionCallOutput(_CallOutput):
    """What a client's function returned for a call."""

    type: Literal["function_call_output"]

    def item(self, owner: str) -> Item:
        """Return it as it is stored."""
        return self._item(self.type, owner, "fco_")


class CustomToolCallOutput(_CallOutput):
    """What a client's custom tool returned for a call."""

    type: Literal["custom_tool_call_output"]

    def item(self, owner: str) -> Item:
        """Return it as it is stored."""
        return self._item(self.type, owner, "ctco_")


class Compaction(Strict):
    """All that came before, as a worker has summed it up."""

    type: Literal["compaction"]
    id: str | None = None
    encrypted_content: Annotated[str, StringConstraints(min_length=1)]

    def item(self, owner: str) -> Item:
        """Return it as it is stored."""
        return {**self.model_dump(), "id": item_id("cmp_", owner)}


class ItemReference(Strict):
    """An item that is stored already, by its id."""

    type: Literal["item_reference"] = "item_reference"
    id: Id


_ROLES = {"user": "user", "system": "system", "developer": "system", "assistant": "assistant"}


def _kind(value: Any) -> str | None:
    """Return which kind of item it is; a message may leave its type out, and so may a reference."""
    if not isinstance(value, dict):
        return getattr(value, "role", None) or getattr(value, "type", None)
    kind = value.get("type") or ("message" if "role" in value or "content" in value else "item_reference")
    if kind == "message":
        role = value.get("role") or "user"  # where it is missing, that is told
        return _ROLES.get(role, role) if isinstance(role, str) else None
    return kind if isinstance(kind, str) else None


# Each `item(owner)` gives the item an id that leads back to its owner.
type InputItem = Annotated[
    Annotated[UserMessage, Tag("user")]
    | Annotated[SystemMessage, Tag("system")]
    | Annotated[AssistantMessage, Tag("assistant")]
    | Annotated[Reasoning, Tag("reasoning")]
    | Annotated[FunctionCall, Tag("function_call")]
    | Annotated[FunctionCallOutput, Tag("function_call_output")]
    | Annotated[CustomToolCall, Tag("custom_tool_call")]
    | Annotated[CustomToolCallOutput, Tag("custom_tool_call_output")]
    | Annotated[McpListTools, Tag("mcp_list_tools")]
    | Annotated[McpCall, Tag("mcp_call")]
    | Annotated[McpApprovalRequest, Tag("mcp_approval_request")]
    | Annotated[McpApprovalResponse, Tag("mcp_approval_response")]
    | Annotated[WebSearchCall, Tag("web_search_call")]
    | Annotated[Compaction, Tag("compaction")]
    | Annotated[ItemReference, Tag("item_reference")],
    Discriminator(_kind),
]
