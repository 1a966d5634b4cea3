"""The routes of `/v1/turns`, for browsers."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response

from turnstream_gateway.disconnects import Disconnects
from turnstream_gateway.event_stream import EventStream
from turnstream_gateway.openapi import STREAM
from turnstream_gateway.tenants import Tenant
from turnstream_gateway.turns import Turns

NO_MORE: dict[int | str, dict[str, Any]] = {204: {"description": "The turn has ended, and there are no more events."}}


def events(turns: Turns, disconnects: Disconnects) -> APIRouter:
    """Return the routes of `/v1/turns`, for browsers."""
    router = APIRouter(prefix="/v1/turns")

    @router.get("/{turn_id}/events", response_class=Response, responses={**STREAM, **NO_MORE})
    async def stream(
        tenant: Tenant,
        turn_id: str,
        last_event_id: Annotated[int, Header(ge=-1)] = -1,
        starting_after: Annotated[int, Query(ge=-1)] = -1,
    ) -> Response:
        """Stream a turn to a browser's EventSource, which comes back by itself with the last id that it has."""
        after = max(last_event_id, starting_after)
        turn = await turns.get(tenant, turn_id)
        if turn.ended and after >= 0 and not await turns.has_events(turn, after):
            return Response(status_code=204)  # tells an EventSource to come back no more
        reading = disconnects.reading(tenant, turn.id, turn.request)
        return EventStream(await turns.resume(turn).__aenter__(), reading, after=after, with_ids=True)

    return router
