"""What a client may ask of `/v1/completions`."""

from typing import Any

from pydantic import Field, PositiveInt, ValidationError, field_validator

from turnstream_local.stand_in.chat_request import ChatRequest, StreamOptions, Wire, bad_body


class TextRequest(Wire):
    """One request for the completion of a text."""

    model: str
    prompt: str = Field(min_length=1)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: PositiveInt | None = None

    @field_validator("prompt", mode="before")
    @classmethod
    def _only_one(cls, prompt: Any) -> Any:
        return prompt[0] if isinstance(prompt, list) and len(prompt) == 1 else prompt

    def as_chat(self) -> ChatRequest:
        """Return the same as a user's only message, since the rules of what to say are made for those."""
        said = [{"role": "user", "content": self.prompt}]
        return ChatRequest.model_validate(self.model_dump(exclude={"prompt"}) | {"messages": said})


def parse_text_request(body: Any) -> TextRequest:
    """Check a body; ApiError says which field is wrong."""
    try:
        return TextRequest.model_validate(body)
    except ValidationError as error:
        raise bad_body(error) from error
