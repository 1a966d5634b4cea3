"""What a call to a model must have for the gateway to pass it on; the model's provider judges the rest."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool


class Call(BaseModel):
    """What every call has."""

    model_config = ConfigDict(frozen=True)

    model: str = Field(min_length=1)
    stream: StrictBool | None = None


class ChatCall(Call):
    """The body of `/v1/chat/completions`."""

    messages: list[Any] = Field(min_length=1)


class CompletionCall(Call):
    """The body of `/v1/completions`."""

    prompt: str | list[Any]


class EmbeddingsCall(Call):
    """The body of `/v1/embeddings`."""

    input: str | list[Any]
    stream: Literal[False] | None = None
