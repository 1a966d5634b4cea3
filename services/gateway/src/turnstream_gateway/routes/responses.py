"""The routes of `/v1/responses`."""

import asyncio
from contextlib import AbstractAsyncContextManager
from hashlib import blake2b
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import Receive

from turnstream.errors import BusUnavailableError, EventsExpiredError
from turnstream.logs import log
from turnstream.turns import response_resource
from turnstream_gateway.disconnects import Disconnects, Reading
from turnstream_gateway.event_stream import EventStream, client_gone
from turnstream_gateway.include import Include
from turnstream_gateway.openapi import STREAM, failing
from turnstream_gateway.pages import PageQuery, ResponsesPageQuery
from turnstream_gateway.provider_data import ProviderData, read_provider_data
from turnstream_gateway.relay import Relay
from turnstream_gateway.requests import CreateResponse
from turnstream_gateway.resources import DeletedResponse, ItemList, ResponseList, ResponseResource
from turnstream_gateway.tenants import Tenant
from turnstream_gateway.turns import Sent, Turns

READ_BY = {"on_disconnect", "disconnect_grace"}  # what a turn's readers have to do with


class View(BaseModel):
    """How a response is to be shown; any other query parameter is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    stream: bool = False
    starting_after: int = Field(-1, ge=-1)
    include_obfuscation: bool = True
    include: Include = Field([])  # all that there is to show is shown anyway
    include_brackets: Include = Field([], alias="include[]")


def responses(turns: Turns, disconnects: Disconnects) -> APIRouter:
    """Return the routes of `/v1/responses`."""
    router = APIRouter(prefix="/v1/responses")

    @router.post("", response_model=ResponseResource, responses={**STREAM, **failing(404, 409, 429, 501)})
    async def create(
        tenant: Tenant, request: Request, body: CreateResponse, sent: Annotated[Sent, Depends(_sent)]
    ) -> Response:
        relay, new = await turns.accept(tenant, body, sent)
        if body.background and not body.stream:
            await relay.__aexit__(None, None, None)
            return await _as_it_is(turns, tenant, relay.turn)
        asked = body.model_dump(include=READ_BY, exclude_none=True) if body.on_disconnect else {}
        reading = disconnects.reading(tenant, relay.turn, asked)
        if body.stream:
            return EventStream(relay, reading, new=new)
        ended = await _whole(relay, reading, request.receive, new=new)
        return JSONResponse(ended) if ended else await _as_it_is(turns, tenant, relay.turn)

    @router.get("", response_model=ResponseList)
    async def list_responses(tenant: Tenant, page: ResponsesPageQuery) -> JSONResponse:
        return JSONResponse(await turns.list(tenant, page))

    @router.get("/{response_id}", response_model=ResponseResource, responses=STREAM)
    async def retrieve(tenant: Tenant, response_id: str, view: Annotated[View, Query()]) -> Any:
        turn = await turns.get(tenant, response_id)
        if not view.stream:
            return JSONResponse(response_resource(turn))
        relay = await turns.resume(turn).__aenter__()
        reading = disconnects.reading(tenant, turn.id, turn.request)
        return EventStream(relay, reading, after=view.starting_after, obfuscated=view.include_obfuscation)

    @router.delete("/{response_id}", response_model=DeletedResponse, responses=failing(409))
    async def delete(tenant: Tenant, response_id: str) -> JSONResponse:
        return JSONResponse(await turns.delete(tenant, response_id))

    @router.post("/{response_id}/cancel", response_model=ResponseResource, responses=failing(409))
    async def cancel(tenant: Tenant, response_id: str) -> JSONResponse:
        return JSONResponse(response_resource(await turns.cancel(tenant, response_id)))

    @router.get("/{response_id}/input_items", response_model=ItemList)
    async def input_items(tenant: Tenant, response_id: str, page: PageQuery) -> JSONResponse:
        return JSONResponse(await turns.input_items(tenant, response_id, page))

    return router


async def _sent(
    request: Request,
    x_llamastack_provider_data: ProviderData = None,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255, pattern="^[ -~]+$")] = None,
    x_stainless_retry_count: Annotated[int, Header()] = 0,
) -> Sent:
    """Return how a request came; the one dependency for all of it, since each costs every request."""
    fingerprint = blake2b(await request.body(), digest_size=16).digest()
    return Sent(
        fingerprint, idempotency_key, x_stainless_retry_count > 0, read_provider_data(x_llamastack_provider_data)
    )


async def _whole(
    relay: Relay, reading: AbstractAsyncContextManager[Reading], receive: Receive, *, new: bool
) -> dict[str, Any] | None:
    """Return the response that a turn ends with; None if its client goes, or its events cannot be read."""
    try:
        async with reading as read:
            gone = asyncio.create_task(client_gone(receive, relay), name="responses.gone")
            try:
                return await relay.response(new=new)
            finally:
                read.broken_off = gone.done()
                gone.cancel()
    except (BusUnavailableError, EventsExpiredError) as error:
        # It was accepted, and a client that is told to try again would run it twice: what is stored is the answer.
        log.warning("relay.broken_off", turn=relay.turn, error=str(error))
        return None
    finally:
        await relay.__aexit__(None, None, None)


async def _as_it_is(turns: Turns, tenant: str, turn: str) -> JSONResponse:
    """Return a turn that was just accepted, as it is stored."""
    return JSONResponse(response_resource(await turns.accepted(tenant, turn)))
