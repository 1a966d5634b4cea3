"""Calls that clients make straight to a model: they take no queue, and are answered as the model's provider does."""

from collections.abc import AsyncGenerator

import orjson

from turnstream.errors import InvalidRequestError
from turnstream_worker.stack import Operation, Stack


class PassThrough:
    """Answers calls by a stack."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack

    def answer(self, subject: str, body: bytes) -> AsyncGenerator[bytes]:
        """Yield the answer to a body that came on the subject of an operation; raise ModelError or ApiError."""
        try:
            request = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise InvalidRequestError("The body is not valid JSON.", code="invalid_json") from error
        return self._stack.answer(Operation(subject.rpartition(".")[2]), request)
