"""What a client may send about prompts. Llama Stack's rule: every placeholder of a prompt is a declared variable."""

from typing import Annotated

from pydantic import Field, StringConstraints, ValidationInfo, field_validator

from turnstream_gateway.bodies import Body
from turnstream_gateway.prompt import placeholders
from turnstream_gateway.prompt_reference import VARIABLES_LIMIT, VariableName

TEMPLATE_LIMIT = 32 << 10  # characters


type Template = Annotated[str, StringConstraints(max_length=TEMPLATE_LIMIT)]
type Version = Annotated[int, Field(ge=1, lt=10**9)]  # what Postgres takes for an integer


class CreatePrompt(Body):
    """The body of `POST /v1/prompts`."""

    prompt: Template
    variables: list[VariableName] = Field([], max_length=VARIABLES_LIMIT, validate_default=True)

    @field_validator("variables")
    @classmethod
    def _declares_all(cls, variables: list[str], given: ValidationInfo) -> list[str]:
        undeclared = [name for name in placeholders(given.data.get("prompt", "")) if name not in variables]
        if undeclared:
            raise ValueError(f"the prompt has placeholders that are not declared: {', '.join(undeclared)}")
        return variables


class UpdatePrompt(CreatePrompt):
    """The body of `PUT /v1/prompts/{id}`."""

    version: Version  # the latest one, which this was made from
    set_as_default: bool = True


class SetDefaultVersion(Body):
    """The body of `PUT /v1/prompts/{id}/set-default-version`."""

    version: Version
