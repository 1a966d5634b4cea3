"""A service's error on its way to the asker, where it is raised again as what it was.

Only errors that are made to be shown travel: of any other the asker learns that the service failed, and the service
logs why.
"""

from typing import Any

import orjson

from turnstream import errors
from turnstream.errors import ApiError, TurnError

type Failure = ApiError | TurnError


def encode(failure: Failure) -> bytes:
    """Return an error as the bytes that travel."""
    fields: dict[str, Any] = {"message": failure.message, "code": failure.code, "param": failure.param}
    if isinstance(failure, TurnError):
        fields |= {"status": failure.status, "retry_after": failure.retry_after}
    return orjson.dumps({"class": type(failure).__name__, **fields})


def decode(data: bytes) -> Failure:
    """Return the error that another process has encoded."""
    fields = orjson.loads(data)
    kind = getattr(errors, fields.pop("class"), None)
    if isinstance(kind, type) and issubclass(kind, ApiError | TurnError):
        return kind(**fields)
    return ApiError(**fields)  # a newer process may know a class that this one does not
