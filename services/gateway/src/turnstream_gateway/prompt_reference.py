"""A prompt by its id, and what stands for its variables, as `POST /v1/responses` takes it."""

import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    model_validator,
)

from turnstream import ids

VARIABLES_LIMIT = 100  # of one prompt

# So high that no prompt has it, and so low that Postgres takes it for an integer.
VERSION_PATTERN = r"^[1-9][0-9]{0,8}$"


def _name(value: str) -> str:
    if not re.fullmatch(r"\w{1,64}", value):
        raise ValueError("a variable's name has 1 to 64 letters, digits and underscores")
    return value


type VariableName = Annotated[str, AfterValidator(_name)]


class _Known(BaseModel):
    # Not `Strict` of requests.py: its bodies hold references, and imports must not go in a circle.
    model_config = ConfigDict(extra="forbid", frozen=True)


class TextValue(_Known):
    """A text that stands for a variable."""

    type: Literal["input_text"]
    text: str


class ImageValue(_Known):
    """An image that stands for a variable."""

    type: Literal["input_image"]
    detail: Literal["low", "high", "auto", "original"] | None = None
    file_id: str | None = None
    image_url: str | None = None

    @model_validator(mode="after")
    def _is_somewhere(self) -> "ImageValue":
        if not (self.file_id or self.image_url):
            raise ValueError("an image needs a 'file_id' or an 'image_url'")
        return self


class FileValue(_Known):
    """A file that stands for a variable."""

    type: Literal["input_file"]
    detail: Literal["low", "high", "auto"] | None = None
    file_data: str | None = None
    file_id: str | None = None
    file_url: str | None = None
    filename: str | None = None

    @model_validator(mode="after")
    def _is_somewhere(self) -> "FileValue":
        if not (self.file_data or self.file_id or self.file_url):
            raise ValueError("a file needs a 'file_id', a 'file_url' or 'file_data'")
        return self


def _kind(value: Any) -> str | None:
    if isinstance(value, str):
        return "str"
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return kind if isinstance(kind, str) else None


type Value = Annotated[
    Annotated[str, Tag("str")]
    | Annotated[TextValue, Tag("input_text")]
    | Annotated[ImageValue, Tag("input_image")]
    | Annotated[FileValue, Tag("input_file")],
    Discriminator(
        _kind,
        custom_error_type="variable_kind",
        custom_error_message="a variable's value is a string, an input_text, an input_image or an input_file",
    ),
]


class PromptReference(_Known):
    """A stored prompt: its id, a version if not the default, and a value for each of its variables."""

    id: Annotated[str, StringConstraints(pattern=ids.WELL_FORMED)]
    version: Annotated[str, StringConstraints(pattern=VERSION_PATTERN)] | None = None
    variables: Annotated[dict[VariableName, Value], Field(max_length=VARIABLES_LIMIT)] | None = None
