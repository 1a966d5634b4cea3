"""What the operator lets a request ask for itself."""

from turnstream.errors import InvalidRequestError
from turnstream_gateway.requests import CreateResponse
from turnstream_gateway.settings import GatewaySettings

# Parameters of a request, each of which has a setting `<name>_limit`.
LIMITED = ("max_attempts", "deadline", "grace", "disconnect_grace")


def check_limits(body: CreateResponse, settings: GatewaySettings) -> None:
    """Raise InvalidRequestError for a request that asks for more than the operator allows."""
    for name in LIMITED:
        asked, limit = getattr(body, name), getattr(settings, f"{name}_limit")
        if asked is not None and asked > limit:
            message = f"Invalid value for '{name}': it is at most {limit:g} here."
            raise InvalidRequestError(message, code="invalid_value", param=name)
