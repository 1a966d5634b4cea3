"""The routes: each reads a request, lets its noun do the work, and shows the answer as the API does."""

import asyncio
from hashlib import blake2b
from importlib.metadata import version
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse

from turnstream.bus import Bus
from turnstream.errors import BusUnavailableError, EventsExpiredError, UnavailableError
from turnstream.logs import log
from turnstream.store import Store
from turnstream.subjects import DEFAULT_TENANT
from turnstream.turns import response_resource
from turnstream_gateway.conversations import Conversations
from turnstream_gateway.event_stream import EventStream
from turnstream_gateway.models import Models
from turnstream_gateway.relay import Relay
from turnstream_gateway.requests import CreateConversation, CreateItems, CreateResponse, UpdateConversation
from turnstream_gateway.turns import Sent, Turns

TENANT = DEFAULT_TENANT  # until keys name others

type Cursor = Annotated[str | None, Query(max_length=64, pattern="^[A-Za-z0-9_-]*$")]  # an id; empty is none
type Limit = Annotated[int, Query(ge=1, le=100)]
type Order = Literal["asc", "desc"]


def responses(turns: Turns) -> APIRouter:
    """Return the routes of `/v1/responses`."""
    router = APIRouter(prefix="/v1/responses")

    @router.post("", response_model=None)
    async def create(
        request: Request,
        body: CreateResponse,
        idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255, pattern="^[ -~]+$")] = None,
        x_stainless_retry_count: Annotated[int, Header()] = 0,
    ) -> Response:
        fingerprint = blake2b(await request.body(), digest_size=16).digest()
        relay, new = await turns.accept(TENANT, body, Sent(fingerprint, idempotency_key, x_stainless_retry_count > 0))
        if body.stream:
            return EventStream(relay, new=new)
        return await _whole(turns, relay, new=new, wait=not body.background)

    @router.get("")
    async def list_responses(
        after: Cursor = None, before: Cursor = None, model: str | None = None, limit: Limit = 20, order: Order = "desc"
    ) -> JSONResponse:
        bounds: dict[str, Any] = {"after": after, "before": before, "model": model, "limit": limit, "order": order}
        return JSONResponse(await turns.list(TENANT, **bounds))

    @router.get("/{response_id}", response_model=None)
    async def retrieve(
        response_id: str,
        stream: bool = False,
        starting_after: Annotated[int, Query(ge=-1)] = -1,
    ) -> Any:
        turn = await turns.get(TENANT, response_id)
        if not stream:
            return JSONResponse(response_resource(turn))
        relay = await turns.resume(turn).__aenter__()
        return EventStream(relay, after=starting_after)

    @router.delete("/{response_id}")
    async def delete(response_id: str) -> JSONResponse:
        return JSONResponse(await turns.delete(TENANT, response_id))

    @router.post("/{response_id}/cancel")
    async def cancel(response_id: str) -> JSONResponse:
        return JSONResponse(response_resource(await turns.cancel(TENANT, response_id)))

    @router.get("/{response_id}/input_items")
    async def input_items(
        response_id: str, after: Cursor = None, limit: Limit = 20, order: Order = "desc"
    ) -> JSONResponse:
        return JSONResponse(await turns.input_items(TENANT, response_id, after=after, limit=limit, order=order))

    return router


async def _whole(turns: Turns, relay: Relay, *, new: bool, wait: bool) -> JSONResponse:
    """Return a turn that was just accepted, once it has ended or as it is."""
    try:
        if wait:
            return JSONResponse(await relay.response(new=new))
    except (BusUnavailableError, EventsExpiredError) as error:
        # It was accepted, and a client that is told to try again would run it twice: what is stored is the answer.
        log.warning("relay.broken_off", turn=relay.turn, error=str(error))
    finally:
        await relay.__aexit__(None, None, None)
    return JSONResponse(response_resource(await turns.get(TENANT, relay.turn)))


def native(turns: Turns) -> APIRouter:
    """Return the routes of `/v1/turns`, for browsers."""
    router = APIRouter(prefix="/v1/turns")

    @router.get("/{turn_id}/events", response_model=None)
    async def events(
        turn_id: str,
        last_event_id: Annotated[int, Header(ge=-1)] = -1,
        starting_after: Annotated[int, Query(ge=-1)] = -1,
    ) -> Response:
        """Stream a turn to a browser's EventSource, which comes back by itself with the last id that it has."""
        after = max(last_event_id, starting_after)
        turn = await turns.get(TENANT, turn_id)
        if turn.ended and after >= 0 and not await turns.has_events(turn, after):
            return Response(status_code=204)  # tells an EventSource to come back no more
        return EventStream(await turns.resume(turn).__aenter__(), after=after, with_ids=True)

    return router


def conversations(conversations: Conversations) -> APIRouter:
    """Return the routes of `/v1/conversations`."""
    router = APIRouter(prefix="/v1/conversations")

    @router.post("")
    async def create(body: CreateConversation | None = None) -> JSONResponse:
        return JSONResponse((await conversations.create(TENANT, body or CreateConversation())).resource())

    @router.get("/{conversation_id}")
    async def retrieve(conversation_id: str) -> JSONResponse:
        return JSONResponse((await conversations.get(TENANT, conversation_id)).resource())

    @router.post("/{conversation_id}")
    async def update(conversation_id: str, body: UpdateConversation) -> JSONResponse:
        return JSONResponse((await conversations.update(TENANT, conversation_id, body)).resource())

    @router.delete("/{conversation_id}")
    async def delete(conversation_id: str) -> JSONResponse:
        return JSONResponse(await conversations.delete(TENANT, conversation_id))

    @router.get("/{conversation_id}/items")
    async def items(
        conversation_id: str, after: Cursor = None, limit: Limit = 20, order: Order = "desc"
    ) -> JSONResponse:
        return JSONResponse(await conversations.items(TENANT, conversation_id, after=after, limit=limit, order=order))

    @router.post("/{conversation_id}/items")
    async def add_items(conversation_id: str, body: CreateItems) -> JSONResponse:
        return JSONResponse(await conversations.add_items(TENANT, conversation_id, body))

    @router.get("/{conversation_id}/items/{item_id}")
    async def item(conversation_id: str, item_id: str) -> JSONResponse:
        return JSONResponse(await conversations.item(TENANT, conversation_id, item_id))

    @router.delete("/{conversation_id}/items/{item_id}")
    async def delete_item(conversation_id: str, item_id: str) -> JSONResponse:
        return JSONResponse((await conversations.delete_item(TENANT, conversation_id, item_id)).resource())

    return router


def models(models: Models) -> APIRouter:
    """Return the routes of `/v1/models`."""
    router = APIRouter(prefix="/v1/models")

    @router.get("")
    async def list_models() -> JSONResponse:
        return JSONResponse({"object": "list", "data": await models.list()})

    @router.get("/{model_id:path}")
    async def retrieve(model_id: str) -> JSONResponse:
        return JSONResponse(await models.get(model_id))

    return router


def service(bus: Bus, store: Store) -> APIRouter:
    """Return the routes that tell how the gateway is."""
    router = APIRouter(prefix="/v1")

    @router.get("/health")
    async def health() -> JSONResponse:
        bus_is_well, store_is_well = await asyncio.gather(bus.healthy(), store.healthy())
        if not (bus_is_well and store_is_well):
            raise UnavailableError(f"{'Postgres' if bus_is_well else 'NATS'} does not answer.", code="unhealthy")
        return JSONResponse({"status": "OK"})

    @router.get("/version")
    async def show_version() -> JSONResponse:
        return JSONResponse({"version": version("turnstream-gateway")})

    return router
