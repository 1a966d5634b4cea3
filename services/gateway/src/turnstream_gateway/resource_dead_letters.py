"""What /openapi.json shows of the turns that were given up."""

from typing import Literal

from turnstream_gateway.resource_items import Resource
from turnstream_gateway.resources import PageResource


class DeadLetterReason(Resource):
    """Why a turn was given up, as in the error of its response."""

    code: str
    message: str


class DeadLetterStep(Resource):
    """What a dead turn did, without what went into it and came out."""

    number: int
    kind: Literal["model_call", "tool_call", "list_tools", "compaction"]
    name: str | None  # the tool's, or the server's
    attempt: int  # that began it
    state: Literal["started", "finished", "uncertain"]
    started_at: float  # seconds since the epoch
    finished_at: float | None


class DeadLetterResource(Resource):
    """What is kept of a turn that was given up."""

    id: str  # the response's
    object: Literal["dead_letter"]
    tenant: str
    reason: DeadLetterReason
    attempts: int
    filed_at: int  # seconds since the epoch
    steps: list[DeadLetterStep]  # the last ones, ten at most


class DeadResponse(Resource):
    """The response that a dead letter is about, as far as an operator may know."""

    status: Literal["queued", "in_progress", "completed", "failed", "incomplete", "cancelled"]
    model: str
    created_at: int  # seconds since the epoch


class DeadLetterDetail(DeadLetterResource):
    """A dead letter with its response, unless that was deleted."""

    response: DeadResponse | None


class ReplayedDeadLetter(Resource):
    """The response that runs what a dead one asked."""

    id: str  # the dead one
    object: Literal["dead_letter.replayed"]
    response_id: str


class DeletedDeadLetter(Resource):
    """What is left of a dead letter; its response is still there."""

    id: str
    object: Literal["dead_letter.deleted"]
    deleted: Literal[True]


class DeadLetterList(PageResource):
    """A page of the dead letters of one tenant, or of all."""

    data: list[DeadLetterResource]
