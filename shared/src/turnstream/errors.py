"""Every error that Turnstream raises on purpose.

    TurnstreamError
    ├── TerminalError            trying again cannot help
    │   ├── ApiError             an answer to a client, with its status
    │   │   ├── InvalidRequestError  400
    │   │   ├── AuthenticationError  401
    │   │   ├── ForbiddenError       403
    │   │   ├── NotFoundError        404
    │   │   ├── ConflictError        409
    │   │   ├── TooLargeError        413
    │   │   ├── RateLimitError       429
    │   │   ├── NotConfiguredError   501
    │   │   └── UnavailableError     503
    │   ├── FencedError          a later attempt owns the turn
    │   ├── BusyError            too many turns of a conversation have not ended
    │   ├── KeyTakenError        an idempotency key came with another body before
    │   ├── ConversationGoneError  the conversation that a turn goes on from was deleted
    │   ├── PreviousGoneError    a turn that another one follows was deleted
    │   ├── HistoryTooLongError  what came before a turn is more than a turn may read
    │   ├── EventsExpiredError   a log no longer holds what is asked for
    │   │   └── EventsLostError      and what it holds does not go on where its reader is
    │   ├── IncompleteStreamError  a client does not have all events of a turn
    │   ├── EventTooLargeError   an event is larger than the bus takes
    │   ├── FetchError           what is at a URL cannot be had
    │   ├── MediaError           an image, a file or a video is of no use
    │   ├── NoKeyError           a gateway that others can reach has no API key
    │   ├── SchemaError          the database lacks what this version needs
    │   ├── SecretsUnreadableError  no key opens what a client sent along with a turn
    │   └── TurnError            a turn fails, or a question about one, and its client is told why
    │       └── ModelError           the model's provider refused or broke
    └── RetryableError           the same call may pass later
        ├── BusUnavailableError
        │   └── QueueFullError       the work queue takes no more for now
        └── StoreUnavailableError

Errors of libraries are mapped to these where the library is imported, and nowhere else.
"""

import math
from http import HTTPStatus
from typing import Any, ClassVar, Literal

type FetchReason = Literal[
    "bad_url", "refused", "unreachable", "timeout", "bad_status", "too_many_redirects", "too_large"
]


class TurnstreamError(Exception):
    """The root; its message is fit to be shown to an operator."""


class TerminalError(TurnstreamError):
    """Trying again cannot help."""


class RetryableError(TurnstreamError):
    """The same call may pass later."""


class ApiError(TerminalError):
    """An answer to a client in OpenAI's shape."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    headers: ClassVar[dict[str, str]] = {}

    def __init__(self, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.param = param

    def body(self) -> dict[str, Any]:
        """Return the answer's JSON: `{"error": {"message", "type", "code", "param"}}`."""
        return {"error": {"message": self.message, "type": self.type, "code": self.code, "param": self.param}}


class InvalidRequestError(ApiError):
    """The request itself is wrong, and the message says what to change."""

    status = 400
    type = "invalid_request_error"


class AuthenticationError(ApiError):
    """No API key, or none that is valid."""

    status = 401
    type = "invalid_request_error"
    headers: ClassVar[dict[str, str]] = {"www-authenticate": "Bearer"}  # RFC 9110, section 11.6.1, requires it


class ForbiddenError(ApiError):
    """The API key is valid, and not for this."""

    status = 403
    type = "invalid_request_error"


class NotFoundError(ApiError):
    """No such thing, or not this tenant's."""

    status = 404
    type = "invalid_request_error"


class ConflictError(ApiError):
    """What is there does not allow it, and will not the next time either: clients try a bare 409 again."""

    status = 409
    type = "invalid_request_error"
    headers: ClassVar[dict[str, str]] = {"x-should-retry": "false"}


class TooLargeError(ApiError):
    """The body is larger than the gateway takes."""

    status = 413
    type = "invalid_request_error"


class RateLimitError(ApiError):
    """Too much is under way; nothing was accepted, and the same request may be sent again later."""

    status = 429
    type = "rate_limit_error"
    headers: ClassVar[dict[str, str]] = {"retry-after": "1"}


class NotConfiguredError(ApiError):
    """The operator has not set up what the request needs, and the message says which setting it is."""

    status = 501
    type = "server_error"
    headers: ClassVar[dict[str, str]] = {"x-should-retry": "false"}


class UnavailableError(ApiError):
    """Nothing was accepted; the same request may be sent again."""

    status = 503
    type = "server_error"
    headers: ClassVar[dict[str, str]] = {"retry-after": "1"}


class FencedError(TerminalError):
    """Another attempt owns the turn: stop at once, write nothing more. `attempt` is that one's number, where known."""

    def __init__(self, message: str, *, attempt: int = 0) -> None:
        super().__init__(message)
        self.attempt = attempt


class BusyError(TerminalError):
    """More turns of a conversation have not ended than another one may wait for."""


class KeyTakenError(TerminalError):
    """An idempotency key came with another body before."""


class ConversationGoneError(TerminalError):
    """The conversation that a turn goes on in, or goes on from, was deleted."""


class PreviousGoneError(TerminalError):
    """A turn that another one follows, directly or through others, was deleted."""


class HistoryTooLongError(TerminalError):
    """What came before a turn is more than a turn may read."""


class EventsExpiredError(TerminalError):
    """A log no longer holds the events that a reader asks for. `code` is what its client is told."""

    code: ClassVar[str] = "events_expired"


class EventsLostError(EventsExpiredError):
    """A log was lost, with events that a reader has, and its turn was begun again: it holds other events now."""

    code: ClassVar[str] = "events_lost"


class IncompleteStreamError(TerminalError):
    """What a client has of a turn's events is not all of them, or not as they were stored."""


class EventTooLargeError(TerminalError):
    """An event is larger than one message of the bus may be."""


class NoKeyError(TerminalError):
    """A gateway that others than this machine's users can reach has no API key to ask for."""


class SchemaError(TerminalError):
    """The database lacks what this version needs: the provisioning step has not run."""


class SecretsUnreadableError(TerminalError):
    """No key of this process opens the secrets that a client sent along with a turn."""


class FetchError(TerminalError):
    """What is at a URL cannot be had.

    The message is fit for whoever sent the URL: it does not tell an address that is refused from one where nobody
    answers. `reason` does, and is for the operator.
    """

    def __init__(self, message: str, *, reason: FetchReason) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason


class MediaError(TerminalError):
    """An image, a file or a video is of no use; `image_code` is OpenAI's code for it, if it is an image."""

    def __init__(self, message: str, *, image_code: str) -> None:
        super().__init__(message)
        self.message = message
        self.image_code = image_code


class TurnError(TerminalError):
    """A turn fails, or a question about one, and its client is told why.

    `code` is the response's error code and `status` the HTTP status that fits an answer to a client. `retry_after` is
    in how many seconds the same call may pass, 0 where the provider names no time; None says that it will not.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "server_error",
        param: str | None = None,
        status: int = 502,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.param = param
        self.status = status
        self.retry_after = retry_after

    @property
    def headers(self) -> dict[str, str]:
        """The headers of an answer: when to try again, or not to, which client libraries would do by themselves."""
        if self.retry_after is None:
            return {"x-should-retry": "false"}
        return {"retry-after": str(math.ceil(self.retry_after))} if self.retry_after else {}

    def body(self) -> dict[str, Any]:
        """Return an answer's JSON, as ApiError does."""
        kind = "server_error" if self.status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"
        kind = "rate_limit_error" if self.status == HTTPStatus.TOO_MANY_REQUESTS else kind
        return {"error": {"message": self.message, "type": kind, "code": self.code, "param": self.param}}


class ModelError(TurnError):
    """The model's provider refused the call or broke off."""


class BusUnavailableError(RetryableError):
    """NATS did not answer within the time that was given."""


class QueueFullError(BusUnavailableError):
    """NATS did answer: the work queue holds as much as it may, in all or of one tenant."""


class StoreUnavailableError(RetryableError):
    """Postgres did not answer within the time that was given."""
