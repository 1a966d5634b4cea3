"""Bodies that ask for a response: what is kept of them, and how they are refused."""

from typing import Any

import pytest
from pydantic import ValidationError

from turnstream.errors import InvalidRequestError
from turnstream_gateway.requests import CreateResponse

TOOL = {"type": "function", "name": "weather"}
USER = {"role": "user", "content": "hello"}


def parsed(**body: Any) -> CreateResponse:
    """Parse a body with a model and an input."""
    return CreateResponse.model_validate({"model": "m", "input": "hello", **body})


def kept(**body: Any) -> dict[str, Any]:
    """Return what a turn keeps of such a body, besides what it keeps of every one."""
    parameters = parsed(**body).parameters()
    always = {"model": "m", "include": []}
    assert parameters.keys() >= always.keys()
    return {name: value for name, value in parameters.items() if always.get(name) != value}


def refusal(**body: Any) -> dict[str, Any]:
    """Return the first complaint about a body."""
    with pytest.raises(ValidationError) as refused:
        parsed(**body)
    return dict(refused.value.errors()[0])


def contradiction(**body: Any) -> tuple[str | None, str | None]:
    """Return the place and the code of what is refused for more than its form."""
    with pytest.raises(InvalidRequestError) as refused:
        parsed(**body)
    return refused.value.param, refused.value.code
