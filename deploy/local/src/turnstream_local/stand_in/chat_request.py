"""What a client may ask of `/v1/chat/completions`."""

import re
from functools import cached_property
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, model_validator

from turnstream_local.stand_in.errors import ApiError

DIRECTIVE = re.compile(r"\s*\[stand-in((?:\s+(?:tokens|delay_ms|first_delay_ms|stamp|calls)=\d{1,9})*)\s*\]\s*")


class Wire(BaseModel):
    """A part of a request; what the stand-in does not know is let through, as real servers do."""

    model_config = ConfigDict(extra="allow", frozen=True)


class Part(Wire):
    """One part of a message's content; only text is read."""

    type: str
    text: str = ""


class Message(Wire):
    """One message of the conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[Part] | None = None

    @cached_property
    def text(self) -> str:
        """The message's text, its parts joined by line ends."""
        if isinstance(self.content, list):
            return "\n".join(part.text for part in self.content if part.text)
        return self.content or ""


class Function(Wire):
    """A function that the model may call."""

    name: str = Field(min_length=1)
    parameters: dict[str, Any] | None = None


class Tool(Wire):
    """A tool that the model may call."""

    type: Literal["function"]
    function: Function


class NamedFunction(Wire):
    """The name of the one function that must be called."""

    name: str


class NamedTool(Wire):
    """The one tool that must be called."""

    type: Literal["function"]
    function: NamedFunction


class StreamOptions(Wire):
    """How a stream is sent."""

    include_usage: bool = False


class JsonSchema(Wire):
    """The schema that an answer must fit."""

    schema_: dict[str, Any] = Field(default={}, alias="schema")


class ResponseFormat(Wire):
    """The form of the answer."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class ChatRequest(Wire):
    """One request for a chat completion."""

    model: str
    messages: list[Message] = Field(min_length=1)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    tools: list[Tool] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    response_format: ResponseFormat | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    max_tokens: PositiveInt | None = None
    max_completion_tokens: PositiveInt | None = None
    n: Literal[1] | None = None

    @model_validator(mode="after")
    def _tool_choice_is_offered(self) -> Self:
        offered = {tool.function.name for tool in self.tools or ()}
        if isinstance(self.tool_choice, NamedTool) and self.tool_choice.function.name not in offered:
            message = f"tool_choice names {self.tool_choice.function.name!r}, which is not in tools"
            raise ValueError(message)
        return self

    @property
    def token_limit(self) -> int | None:
        """The largest number of tokens that the answer may have."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with a chunk that holds the usage."""
        return self.stream_options is not None and self.stream_options.include_usage

    @cached_property
    def user_texts(self) -> list[str]:
        """The texts of the user's messages, oldest first, as they were sent."""
        return [message.text for message in self.messages if message.role == "user"]

    @property
    def last_user_text(self) -> str:
        """What the user said last, as it was sent."""
        return self.user_texts[-1] if self.user_texts else ""

    @cached_property
    def directive(self) -> dict[str, int]:
        """The settings that the last user text begins with, as in `[stand-in tokens=60 delay_ms=30]`."""
        found = DIRECTIVE.match(self.last_user_text)
        pairs = found[1].split() if found else []
        return {name: int(value) for name, _, value in (pair.partition("=") for pair in pairs)}


def parse_chat_request(body: Any) -> ChatRequest:
    """Check a body; ApiError says which field is wrong."""
    try:
        return ChatRequest.model_validate(body)
    except ValidationError as error:
        raise bad_body(error) from error


def bad_body(error: ValidationError) -> ApiError:
    """Say which field of a body is wrong, and why."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(step) for step in first["loc"]) or None
    return ApiError(f"Invalid value for '{where or 'body'}': {first['msg']}", param=where, code="invalid_value")


def plain(text: str) -> str:
    """Take a directive off the front of a user's text."""
    return DIRECTIVE.sub("", text, count=1) if text.lstrip().startswith("[stand-in") else text
