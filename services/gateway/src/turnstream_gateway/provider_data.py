"""What llama-stack-client sends along for providers and tools, by its header: a user's own keys to them."""

from typing import Annotated, Any

import orjson
from fastapi import Header

from turnstream.errors import InvalidRequestError
from turnstream_gateway.bodies import check_storable

PROVIDER_DATA_LIMIT = 16 << 10  # bytes
NAME = "x-llamastack-provider-data"


type ProviderData = Annotated[
    str | None,
    Header(
        max_length=PROVIDER_DATA_LIMIT,
        description="A JSON object with its user's own keys to providers and tools.",
        examples=['{"tavily_search_api_key": "..."}'],
    ),
]


def read_provider_data(header: str | None) -> dict[str, Any] | None:
    """Return the header's object, or None without it; raise InvalidRequestError for what is no JSON object."""
    if header is None:
        return None
    try:
        data = orjson.loads(header.encode("latin-1"))  # as the server has decoded it
    except orjson.JSONDecodeError:
        data = None
    if not isinstance(data, dict):
        # Without what was sent: it is full of secrets.
        message = "The header 'X-LlamaStack-Provider-Data' is not a JSON object."
        raise InvalidRequestError(message, code="invalid_value", param=NAME)
    check_storable(NAME, data)
    return data
