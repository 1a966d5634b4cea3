"""Answers that a test lays down beforehand, and the requests that came."""

from collections import deque
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt

from turnstream_local.stand_in.errors import ApiError

MAX_SCRIPTS = 1_000
MAX_REQUESTS = 1_000
MAX_TOKENS = 100_000


class Strict(BaseModel):
    """A part of a script; a misspelt field is refused, else a test would test nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ScriptedCall(Strict):
    """A tool call to make; arguments as a string are sent as they are, so that they may be broken JSON."""

    name: str
    arguments: dict[str, Any] | str = {}


class ScriptedError(Strict):
    """A failure: before the first byte, or behind the given number of tokens (or the answer's end) in a stream.

    `http` answers with the status, in mid-stream with an error frame; `drop` cuts the connection.
    """

    kind: Literal["http", "drop"] = "http"
    status: int = Field(default=500, ge=400, le=599)
    message: str = "The stand-in was told to fail."
    type: str = "server_error"
    code: str | None = None
    after_tokens: NonNegativeInt = 0
    retry_after: NonNegativeFloat | None = None
    """Seconds."""

    def to_api_error(self) -> ApiError:
        """Build the error that the client sees."""
        return ApiError(self.message, status=self.status, kind=self.type, code=self.code, retry_after=self.retry_after)


class ScriptedUsage(Strict):
    """The usage to report, whatever was sent."""

    prompt_tokens: NonNegativeInt
    completion_tokens: NonNegativeInt


class Reply(Strict):
    """One answer. With no text, tokens, chunks, refusal or tool calls it is what it would have said anyway."""

    text: str | None = None
    tokens: Annotated[int, Field(ge=0, le=MAX_TOKENS)] | None = None
    """How many tokens to make up; with `text`, how many of them begin with it."""
    chunks: list[str] | None = None
    """The tokens themselves, one chunk each."""
    reasoning: str | None = None
    """What it thinks first, sent as `reasoning_content`."""
    refusal: str | None = None
    """What it says behind the text, if there is one, in `refusal`."""
    tool_calls: list[ScriptedCall] | None = None
    delay_ms: NonNegativeFloat | None = None
    """Milliseconds before each token."""
    first_delay_ms: NonNegativeFloat | None = None
    """Milliseconds before the first byte; `delay_ms` when absent."""
    error: ScriptedError | None = None
    usage: ScriptedUsage | None = None
    logprobs: Annotated[list[float], Field(min_length=1)] | None = None
    """One for each token, the last one repeated; sent to a request that asks for them."""
    finish_reason: str | None = None
    hang: bool = False
    """Stop behind the last token, and keep the connection open."""


class Script(Strict):
    """Replies to requests whose last user text holds `match`: one each, in order; the last one repeats."""

    match: str
    replies: list[Reply] = Field(min_length=1)


class ScriptBook:
    """All scripts in force, and the last requests seen."""

    def __init__(self) -> None:
        self._scripts: dict[str, tuple[Script, list[int]]] = {}
        self._requests: deque[tuple[str, dict[str, Any]]] = deque(maxlen=MAX_REQUESTS)
        self._left: deque[str] = deque(maxlen=MAX_REQUESTS)

    def add(self, script: Script) -> None:
        """Put a script in force; it replaces one of the same match, and goes before all older ones."""
        self._scripts.pop(script.match, None)
        if len(self._scripts) >= MAX_SCRIPTS:
            raise ApiError(f"There are {MAX_SCRIPTS} scripts already.", status=409, code="too_many_scripts")
        self._scripts[script.match] = (script, [0])

    def clear(self) -> None:
        """Forget all scripts."""
        self._scripts.clear()

    def next_reply(self, user_text: str) -> Reply | None:
        """Take the reply to a request, from the newest script that matches."""
        for script, position in reversed(self._scripts.values()):
            if script.match in user_text:
                reply = script.replies[min(position[0], len(script.replies) - 1)]
                position[0] += 1
                return reply
        return None

    def record(self, user_text: str, body: dict[str, Any]) -> None:
        """Keep a request's body; the oldest falls out."""
        self._requests.append((user_text, body))

    def requests(self, match: str) -> list[dict[str, Any]]:
        """Give the bodies of the requests whose last user text holds `match`, oldest first."""
        return [body for user_text, body in self._requests if match in user_text]

    def record_left(self, user_text: str) -> None:
        """Keep that the client of a request has left before the answer's end."""
        self._left.append(user_text)

    def left(self, match: str) -> int:
        """Count the requests whose last user text holds `match` and whose client has left."""
        return sum(match in user_text for user_text in self._left)
