"""What a client may send, made canonical as it is read: text becomes items, references become ids."""

from typing import Annotated, Any, Literal

import orjson
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    field_validator,
    model_validator,
)

from turnstream import ids
from turnstream.ids import new_id
from turnstream.turns import Item

ITEMS_LIMIT = 1000  # items in one input
NEW_ITEMS_LIMIT = 20  # items put into a conversation at a time
TOOLS_LIMIT = 128
DEPTH_LIMIT = 64  # orjson writes 254 levels, and a turn's events wrap what it asks in a few

type Id = Annotated[str, StringConstraints(pattern=ids.WELL_FORMED)]
type Name = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
type Label = Annotated[str, StringConstraints(max_length=256)]  # what a client calls something
type Metadata = Annotated[
    dict[Annotated[str, StringConstraints(max_length=64)], Annotated[str, StringConstraints(max_length=512)]],
    Field(max_length=16),
]


def _depth(value: Any) -> int:
    """Return how many lists and objects stand in each other, counted level by level."""
    depth, level = 0, [value]
    while level := [thing for thing in level if isinstance(thing, dict | list)]:
        depth += 1
        level = [inner for thing in level for inner in (thing.values() if isinstance(thing, dict) else thing)]
    return depth


class Strict(BaseModel):
    """A body in which every field is known: an unknown one is refused, never dropped."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, value: Any) -> Any:
        """Take a null for a field that was left out: SDKs send back items with all the fields that they know."""
        return (
            {key: set_to for key, set_to in value.items() if set_to is not None} if isinstance(value, dict) else value
        )


class Body(Strict):
    """A whole body, which must be fit to be stored as JSON again."""

    @field_validator("*", mode="before")
    @classmethod
    def _storable(cls, value: Any) -> Any:
        try:
            orjson.dumps(value)
        except (orjson.JSONEncodeError, RecursionError) as error:
            raise ValueError("it holds a number or a character that JSON cannot carry") from error
        if _depth(value) > DEPTH_LIMIT:
            raise ValueError(f"it is nested more than {DEPTH_LIMIT} levels deep")
        return value


class TextPart(Strict):
    """A part of a message that is text."""

    type: Literal["input_text", "output_text", "text"]
    text: str
    annotations: list[dict[str, Any]] | None = None
    logprobs: list[dict[str, Any]] | None = None


def _as_parts(value: Any) -> Any:
    return [{"type": "input_text", "text": value}] if isinstance(value, str) else value


type Parts = Annotated[list[TextPart], BeforeValidator(_as_parts)]


class Message(Strict):
    """A message of somebody."""

    type: Literal["message"] = "message"
    id: str | None = None
    role: Literal["user", "assistant", "system", "developer"]
    content: Parts
    status: Literal["in_progress", "completed", "incomplete"] = "completed"

    def item(self) -> Item:
        """Return it as it is stored: an assistant's text is output, anybody else's input."""
        kind = "output_text" if self.role == "assistant" else "input_text"
        content = [{"type": kind, "text": part.text, **_extras(part, kind)} for part in self.content]
        return {
            "type": "message",
            "id": new_id("msg_"),
            "status": self.status,
            "role": self.role,
            "content": content,
        }


def _extras(part: TextPart, kind: str) -> dict[str, Any]:
    if kind == "input_text":
        return {}
    return {"annotations": part.annotations or [], "logprobs": part.logprobs or []}


class FunctionCall(Strict):
    """A call that a model made earlier."""

    type: Literal["function_call"]
    id: str | None = None
    call_id: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    name: Name
    arguments: str
    status: Literal["in_progress", "completed", "incomplete"] | None = None

    def item(self) -> Item:
        """Return it as it is stored."""
        status = self.status or "completed"
        return {**self.model_dump(exclude_none=True), "id": new_id("fc_"), "status": status}


class FunctionCallOutput(Strict):
    """What a client's function returned for a call."""

    type: Literal["function_call_output"]
    id: str | None = None
    call_id: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    output: Parts | str
    status: Literal["in_progress", "completed", "incomplete"] | None = None

    def item(self) -> Item:
        """Return it as it is stored."""
        output = [{"type": "input_text", "text": part.text} for part in self.output if isinstance(part, TextPart)]
        return {
            "type": "function_call_output",
            "id": new_id("fco_"),
            "call_id": self.call_id,
            "output": self.output if isinstance(self.output, str) else output,
            "status": self.status or "completed",
        }


def _item_type(value: Any) -> str | None:
    kind = value.get("type", "message") if isinstance(value, dict) else getattr(value, "type", None)
    return kind if isinstance(kind, str) else None


type InputItem = Annotated[
    Annotated[Message, Tag("message")]
    | Annotated[FunctionCall, Tag("function_call")]
    | Annotated[FunctionCallOutput, Tag("function_call_output")],
    Discriminator(_item_type),
]


def _as_items(value: Any) -> Any:
    return [{"role": "user", "content": value}] if isinstance(value, str) else value


type Input = Annotated[list[InputItem], BeforeValidator(_as_items), Field(min_length=1, max_length=ITEMS_LIMIT)]


class FunctionTool(Strict):
    """A function that the client runs itself."""

    type: Literal["function"]
    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class FunctionChoice(Strict):
    """The one function that the model is to call."""

    type: Literal["function"]
    name: Name


def _as_id(value: Any) -> Any:
    return value.get("id") if isinstance(value, dict) and set(value) == {"id"} else value


class CreateResponse(Body):
    """The body of `POST /v1/responses`."""

    model: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    input: Input
    instructions: str | None = None
    conversation: Annotated[Id | None, BeforeValidator(_as_id)] = None
    previous_response_id: Id | None = None
    tools: Annotated[list[FunctionTool], Field(max_length=TOOLS_LIMIT)] | None = None
    tool_choice: Literal["none", "auto", "required"] | FunctionChoice | None = None
    parallel_tool_calls: bool | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    user: Label | None = None
    safety_identifier: Label | None = None
    prompt_cache_key: Label | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    metadata: Metadata | None = None
    store: Literal[True] | None = None
    background: bool | None = None
    stream: bool | None = None

    def parameters(self) -> dict[str, Any]:
        """Return what the turn keeps of it, as JSON: what was set, but for where it stands and how it is delivered."""
        elsewhere = {"input", "conversation", "previous_response_id", "stream"}
        kept = self.model_dump(mode="json", exclude=elsewhere, exclude_none=True)
        if self.tools:
            kept["tools"] = [tool.model_dump(mode="json") for tool in self.tools]
        return kept

    def items(self) -> list[Item]:
        """Return the input as it is stored."""
        return [item.item() for item in self.input]


class CreateConversation(Body):
    """The body of `POST /v1/conversations`."""

    metadata: Metadata | None = None
    items: Annotated[list[InputItem], Field(max_length=NEW_ITEMS_LIMIT)] | None = None


class UpdateConversation(Body):
    """The body of `POST /v1/conversations/{id}`."""

    metadata: Metadata | None = None


class CreateItems(Body):
    """The body of `POST /v1/conversations/{id}/items`."""

    items: Annotated[list[InputItem], Field(min_length=1, max_length=NEW_ITEMS_LIMIT)]
