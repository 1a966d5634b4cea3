"""The gateway's composition root and its routes: HTTP in, events out."""

import asyncio
import logging
import socket
from importlib.metadata import version
from typing import Annotated, Any, Literal

import uvicorn
from fastapi import APIRouter, FastAPI, Query
from fastapi.responses import JSONResponse

from turnstream.bus import Bus
from turnstream.errors import BusUnavailableError, UnavailableError
from turnstream.process import notify_ready
from turnstream.store import Store
from turnstream.subjects import DEFAULT_TENANT
from turnstream.turns import response_resource
from turnstream_gateway import failures
from turnstream_gateway.body_limit import BodyLimit
from turnstream_gateway.conversations import Conversations
from turnstream_gateway.event_stream import EventStream
from turnstream_gateway.models import Models
from turnstream_gateway.requests import CreateConversation, CreateItems, CreateResponse, UpdateConversation
from turnstream_gateway.settings import GatewaySettings
from turnstream_gateway.turns import Turns

BACKLOG = 2048  # connections that may wait to be accepted
TENANT = DEFAULT_TENANT  # until keys name others

type Cursor = Annotated[str | None, Query(max_length=64, pattern="^[A-Za-z0-9_-]*$")]  # an id; empty is none
type Limit = Annotated[int, Query(ge=1, le=100)]
type Order = Literal["asc", "desc"]


async def serve(settings: GatewaySettings, stop: asyncio.Event) -> None:
    """Run a gateway until `stop` is set; raise if the bus cannot be mended."""
    bus = await Bus.connect(settings, "gateway")
    store = await Store.connect(settings)
    try:
        await _serve_http(build_app(settings, bus, store), settings, stop, bus.failed)
    finally:
        await bus.close()
        await store.close()


def build_app(settings: GatewaySettings, bus: Bus, store: Store) -> FastAPI:
    """Return the application over a connected bus and store."""
    app = FastAPI(
        title="Turnstream", version=version("turnstream-gateway"), docs_url=None, redoc_url=None, redirect_slashes=False
    )
    failures.install(app)
    app.add_middleware(BodyLimit, limit=settings.body_limit)
    models = Models(bus, settings.models_ttl)
    app.include_router(_responses(Turns(bus, store, models, settings)))
    app.include_router(_conversations(Conversations(store)))
    app.include_router(_models(models))
    app.include_router(_service(bus, store))
    return app


def _responses(turns: Turns) -> APIRouter:
    router = APIRouter(prefix="/v1/responses")

    @router.post("", response_model=None)
    async def create(body: CreateResponse) -> Any:
        relay = await turns.accept(TENANT, body)
        if body.stream:
            return EventStream(relay, new=True)
        try:
            return JSONResponse(await relay.response())
        except BusUnavailableError:
            # It was accepted, and a client that is told to try again would run it twice: this one can be retrieved.
            return JSONResponse(response_resource(await turns.get(TENANT, relay.turn)))
        finally:
            await relay.__aexit__(None, None, None)

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


def _conversations(conversations: Conversations) -> APIRouter:
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


def _models(models: Models) -> APIRouter:
    router = APIRouter(prefix="/v1/models")

    @router.get("")
    async def list_models() -> JSONResponse:
        return JSONResponse({"object": "list", "data": await models.list()})

    @router.get("/{model_id:path}")
    async def retrieve(model_id: str) -> JSONResponse:
        return JSONResponse(await models.get(model_id))

    return router


def _service(bus: Bus, store: Store) -> APIRouter:
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


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        notify_ready()


def _is_uvicorns_own(record: logging.LogRecord) -> bool:
    """Tell uvicorn's own reports from those of what the application raised, which is logged where it is raised."""
    return "ASGI" not in record.getMessage()


async def _serve_http(app: FastAPI, settings: GatewaySettings, stop: asyncio.Event, failed: asyncio.Event) -> None:
    logging.getLogger("uvicorn.error").addFilter(_is_uvicorns_own)
    server = _Server(
        uvicorn.Config(
            app,
            host=settings.http_host,
            port=settings.http_port,
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=BACKLOG,
            timeout_graceful_shutdown=int(settings.grace),
        )
    )
    serving = asyncio.create_task(server.serve(), name="gateway.http")
    ends = [asyncio.create_task(event.wait(), name="gateway.end") for event in (stop, failed)]
    try:
        await asyncio.wait([serving, *ends], return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        await serving
    finally:
        for task in ends:
            task.cancel()
    if failed.is_set():
        raise RuntimeError("the connection to NATS could not be mended")
