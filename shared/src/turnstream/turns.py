"""A turn and a conversation, as they are stored and as the API shows them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

type Item = dict[str, Any]
type Status = Literal["queued", "running", "completed", "failed", "incomplete", "cancelled"]

# The statuses of a turn by the API's names: the field says in_progress for what runs.
_SHOWN: dict[str, str] = {"running": "in_progress"}


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn's row."""

    id: str
    tenant: str
    status: Status
    conversation: str | None  # the conversation that it reads and extends
    previous: str | None  # or the turn that it follows
    request: dict[str, Any]  # the parameters, without the input
    input: list[Item]
    output: list[Item] | None  # None until it is finished
    usage: dict[str, Any] | None
    error: dict[str, Any] | None
    incomplete: dict[str, Any] | None  # why it is incomplete
    attempt: int  # how often it was claimed; 0 once it has ended
    handovers: int  # how often a worker gave it up that was stopped, had no room, or found NATS or Postgres away
    stored: bool  # whether its content is kept when it has ended, and shown
    kept: bool  # whether its conversation keeps what it had finished when it was cancelled
    secrets: bytes | None  # what its client gave it for tools and providers, encrypted; empty once it has ended
    service_tier: str | None  # the provider's, that it ran in
    created_at: datetime
    completed_at: datetime | None

    @property
    def beginnings(self) -> int:
        """How often it was begun, but for those that were handed over."""
        return self.attempt - self.handovers

    @property
    def ended(self) -> bool:
        """Whether its status is final."""
        return self.status not in {"queued", "running"}


@dataclass(frozen=True, slots=True)
class Accepted:
    """A turn that was accepted, now or before."""

    turn: str
    ahead: Sequence[str]  # the turns of its conversation that have to end first, in order


@dataclass(frozen=True, slots=True)
class Lost:
    """A turn that is to be queued again."""

    tenant: str
    turn: str
    message_id: str  # of its new message


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a turn ends."""

    status: Literal["completed", "failed", "incomplete", "cancelled"]
    output: list[Item]
    usage: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    incomplete: dict[str, Any] | None = None
    service_tier: str | None = None


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation's row."""

    id: str
    tenant: str
    metadata: dict[str, Any]
    created_at: datetime

    def resource(self) -> dict[str, Any]:
        """Return it as the API shows it."""
        created = int(self.created_at.timestamp())
        return {"id": self.id, "object": "conversation", "created_at": created, "metadata": self.metadata}


# The parameters that a response repeats, with the values that hold where a client leaves them out.
_REPEATED: dict[str, Any] = {
    "model": None,
    "instructions": None,
    "prompt": None,
    "tools": [],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "temperature": 1.0,
    "top_p": 1.0,
    "top_logprobs": 0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "text": {"format": {"type": "text"}},
    "truncation": "disabled",
    "metadata": {},
    "user": None,
    "safety_identifier": None,
    "prompt_cache_key": None,
    "background": False,
    "store": True,
}


def response_resource(turn: Turn) -> dict[str, Any]:
    """Return a turn as the API's response, with every field that the Open Responses specification requires."""
    asked = turn.request
    reasoning = asked.get("reasoning")
    return {
        "id": turn.id,
        "object": "response",
        "created_at": int(turn.created_at.timestamp()),
        "completed_at": int(turn.completed_at.timestamp()) if turn.completed_at else None,
        "status": _SHOWN.get(turn.status, turn.status),
        "incomplete_details": turn.incomplete,
        "previous_response_id": turn.previous,
        "conversation": {"id": turn.conversation} if turn.conversation else None,
        "output": turn.output or [],
        "error": turn.error,
        "usage": turn.usage,
        "reasoning": {"effort": None, "summary": None, **reasoning} if reasoning is not None else None,
        "service_tier": turn.service_tier or "default",
        **{name: asked.get(name, default) for name, default in _REPEATED.items()},
    }
