"""A prompt by its id, and what stands for its variables, as `POST /v1/responses` takes it."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, Discriminator, Field, StringConstraints, Tag

from turnstream_gateway.bodies import Id, Strict
from turnstream_gateway.items import InputFile, InputImage, InputText

VARIABLES_LIMIT = 100  # of one prompt

# So high that no prompt has it, and so low that Postgres takes it for an integer.
VERSION_PATTERN = r"^[1-9][0-9]{0,8}$"


def _name(value: str) -> str:
    if not re.fullmatch(r"\w{1,64}", value):
        raise ValueError("a variable's name has 1 to 64 letters, digits and underscores")
    return value


type VariableName = Annotated[str, AfterValidator(_name)]


def _kind(value: Any) -> str | None:
    if isinstance(value, str):
        return "str"
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return kind if isinstance(kind, str) else None


type Value = Annotated[
    Annotated[str, Tag("str")]
    | Annotated[InputText, Tag("input_text")]
    | Annotated[InputImage, Tag("input_image")]
    | Annotated[InputFile, Tag("input_file")],
    Discriminator(
        _kind,
        custom_error_type="variable_kind",
        custom_error_message="a variable's value is a string, an input_text, an input_image or an input_file",
    ),
]


class PromptReference(Strict):
    """A stored prompt: its id, a version if not the default, and a value for each of its variables."""

    id: Id
    version: Annotated[str, StringConstraints(pattern=VERSION_PATTERN)] | None = None
    variables: Annotated[dict[VariableName, Value], Field(max_length=VARIABLES_LIMIT)] | None = None
