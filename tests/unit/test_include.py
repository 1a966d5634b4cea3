"""What a client may ask to have shown besides, as SDKs send it in bodies and in queries."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from turnstream_gateway.include import Include

INCLUDE: TypeAdapter[Any] = TypeAdapter(Include)
LOGPROBS, SEALED = "message.output_text.logprobs", "reasoning.encrypted_content"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], []),
        ([LOGPROBS], [LOGPROBS]),
        ([LOGPROBS, SEALED], [LOGPROBS, SEALED]),
        ([f"{LOGPROBS},{SEALED}"], [LOGPROBS, SEALED]),
        ([f"{LOGPROBS},", SEALED], [LOGPROBS, SEALED]),
        ([""], []),
    ],
)
def test_names(given: list[str], expected: list[str]) -> None:
    """Names stand in a list, or joined by commas as llama-stack-client does it in a query."""
    assert INCLUDE.validate_python(given) == expected


@pytest.mark.parametrize(
    "name",
    [
        "message.input_image.image_url",
        "file_search_call.results",
        "web_search_call.results",
        "web_search_call.action.sources",
        "code_interpreter_call.outputs",
        "computer_call_output.output.image_url",
    ],
)
def test_what_adds_nothing(name: str) -> None:
    """What belongs to tools that a response has not used may be asked for all the same: clients always do."""
    assert INCLUDE.validate_python([name]) == [name]


@pytest.mark.parametrize(
    "given", [None, LOGPROBS, 5, {}, [5], [None], ["colour"], [f"{LOGPROBS},colour"], [[LOGPROBS]]]
)
def test_what_cannot_be_included(given: Any) -> None:
    """Anything else is refused: a client would wait for it in vain."""
    with pytest.raises(ValidationError):
        INCLUDE.validate_python(given)
