"""The routes that tell how the gateway is."""

import asyncio
from importlib.metadata import version

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from turnstream.bus import Bus
from turnstream.database import Database
from turnstream.errors import UnavailableError
from turnstream_gateway.openapi import failing
from turnstream_gateway.resources import HealthResource, VersionResource


def service(bus: Bus, database: Database) -> APIRouter:
    """Return the routes that tell how the gateway is."""
    router = APIRouter(prefix="/v1")

    @router.get("/health", response_model=HealthResource, responses=failing(503))
    async def health() -> JSONResponse:
        bus_is_well, database_is_well = await asyncio.gather(bus.healthy(), database.healthy())
        if not (bus_is_well and database_is_well):
            raise UnavailableError(f"{'Postgres' if bus_is_well else 'NATS'} does not answer.", code="unhealthy")
        return JSONResponse({"status": "OK"})

    @router.get("/version", response_model=VersionResource)
    async def show_version() -> JSONResponse:
        return JSONResponse({"version": version("turnstream-gateway")})

    return router
