"""The gateway's composition root: builds what it is made of and serves it."""

import asyncio
import logging
import socket
from functools import partial
from importlib.metadata import version

import uvicorn
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from turnstream.bus import Bus
from turnstream.database import Database
from turnstream.errors import NoKeyError
from turnstream.keys import Keys
from turnstream.process import notify_ready
from turnstream.secrets import Secrets
from turnstream.store import Store
from turnstream_gateway import failures
from turnstream_gateway.asking import Asking
from turnstream_gateway.authentication import Authentication
from turnstream_gateway.body_limit import BodyLimit
from turnstream_gateway.conversations import Conversations
from turnstream_gateway.dead_letters import DeadLetters
from turnstream_gateway.disconnects import Disconnects
from turnstream_gateway.http_protocol import HttpProtocol
from turnstream_gateway.keyring import Keyring
from turnstream_gateway.models import Models
from turnstream_gateway.openapi import Api
from turnstream_gateway.pass_through import PassThrough
from turnstream_gateway.prompts import Prompts
from turnstream_gateway.providers import Providers
from turnstream_gateway.questions import Questions
from turnstream_gateway.routes.admin import admin
from turnstream_gateway.routes.conversations import conversations
from turnstream_gateway.routes.events import events
from turnstream_gateway.routes.inference import inference
from turnstream_gateway.routes.inspect import inspect
from turnstream_gateway.routes.models import models
from turnstream_gateway.routes.prompts import prompts
from turnstream_gateway.routes.questions import questions
from turnstream_gateway.routes.responses import responses
from turnstream_gateway.routes.service import service
from turnstream_gateway.settings import GatewaySettings
from turnstream_gateway.turns import Turns

BACKLOG = 2048  # connections that may wait to be accepted


async def serve(settings: GatewaySettings, stop: asyncio.Event) -> None:
    """Run a gateway until `stop` is set; raise if the bus cannot be mended.

    Raises NoKeyError if others than this machine's users could reach it and there is no key to ask them for.
    """
    bus = await Bus.connect(settings, "gateway")
    database = await Database.connect(settings)
    try:
        await _check_address(settings, database)
        app = build_app(settings, bus, database)
        try:
            await _serve_http(app, settings, stop, bus.failed)
        finally:
            await app.state.disconnects.close()
    finally:
        await bus.close()
        await database.close()


async def _check_address(settings: GatewaySettings, database: Database) -> None:
    if not settings.http_host.is_loopback and not await Keys(database).any():
        raise NoKeyError(
            f"others can reach {settings.http_host}, and there is no API key to ask them for: make one with "
            "`turnstream keys create TENANT` or `python -m turnstream.keys create TENANT`, or listen on loopback"
        )


def build_app(settings: GatewaySettings, bus: Bus, database: Database) -> FastAPI:
    """Return the application over a connected bus and database."""
    app = Api(
        title="Turnstream", version=version("turnstream-gateway"), docs_url=None, redoc_url=None, redirect_slashes=False
    )
    failures.install(app)
    # The last one added is the first to see a request. CORS comes before all that refuses: a preflight carries no key,
    # and a browser shows its page no answer, not even an error, without CORS's headers.
    app.add_middleware(BodyLimit, limit=settings.body_limit)
    keyring = Keyring(Keys(database), settings.keys_ttl, private=settings.http_host.is_loopback)
    app.add_middleware(Authentication, keyring=keyring)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=settings.cors_origins, allow_methods=["*"], allow_headers=["*"]
        )
    store = Store(database)
    known_models = Models(bus, settings.models_ttl)
    known_prompts = Prompts(database)
    reader = Questions(store, known_prompts, Secrets(settings.secrets_key))
    turns = Turns(bus, store, known_models, reader, settings)
    app.state.disconnects = Disconnects(bus, turns, settings.disconnect_grace)
    app.include_router(responses(turns, app.state.disconnects))
    app.include_router(questions(Asking(bus, store, known_models, reader)))
    app.include_router(inference(PassThrough(bus, known_models, settings.keepalive)))
    app.include_router(events(turns, app.state.disconnects))
    app.include_router(conversations(Conversations(bus, store, reader, settings.accept_patience)))
    app.include_router(prompts(known_prompts))
    app.include_router(models(known_models))
    app.include_router(inspect(app, Providers(bus, settings.models_ttl)))
    app.include_router(admin(DeadLetters(bus, store, turns)))
    app.include_router(service(bus, database))
    return app


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
            host=str(settings.http_host),
            port=settings.http_port,
            http=partial(HttpProtocol, settings.request_timeout),  # type: ignore[arg-type]  # is only called
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
