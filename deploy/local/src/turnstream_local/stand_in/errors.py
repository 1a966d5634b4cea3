"""What the stand-in refuses, in the shape that OpenAI's API gives errors."""

from typing import Any


class ApiError(Exception):
    """A request that is answered with an error."""

    def __init__(  # noqa: PLR0913 - the fields of OpenAI's error
        self,
        message: str,
        *,
        status: int = 400,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.kind = kind
        self.code = code
        self.param = param
        self.retry_after = retry_after
        """Seconds after which the client may try again, sent as a header."""

    def body(self) -> dict[str, Any]:
        """Give the JSON that the client reads."""
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Give the headers that belong to this error."""
        return [] if self.retry_after is None else [(b"retry-after", f"{self.retry_after:g}".encode())]


class UnknownModelError(ApiError):
    """The request names a model that is not served here."""

    def __init__(self, model: str) -> None:
        super().__init__(
            f"The model `{model}` does not exist or you do not have access to it.",
            status=404,
            code="model_not_found",
        )
