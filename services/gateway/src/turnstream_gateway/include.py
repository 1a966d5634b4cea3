"""What a client may ask to have shown besides what is shown anyway."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

# OpenAI's names. What belongs to tools that a response has not used, or that are not there, adds nothing to it.
type Includable = Literal[
    "reasoning.encrypted_content",
    "message.output_text.logprobs",
    "message.input_image.image_url",
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "code_interpreter_call.outputs",
    "computer_call_output.output.image_url",
]
LIMIT = 32  # names; clients may repeat one


def _apart(value: Any) -> Any:
    """Take apart what stands in a query: llama-stack-client joins names with commas, openai's repeats the parameter."""
    if not isinstance(value, list) or not all(isinstance(names, str) for names in value):
        return value
    return [name for names in value for name in names.split(",") if name]


# No `type` statement: FastAPI would not see the list in it.
Include = Annotated[
    list[Includable],
    Field(max_length=LIMIT, fail_fast=True),
    BeforeValidator(_apart, json_schema_input_type=list[Includable | Literal[""]]),
]
