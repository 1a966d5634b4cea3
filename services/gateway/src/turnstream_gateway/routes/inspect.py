"""The routes that tell what there is: `/v1/providers` and `/v1/inspect/routes`, in Llama Stack's shapes."""

from typing import Literal

from fastapi import APIRouter, FastAPI
from fastapi.responses import JSONResponse

from turnstream_gateway.providers import Providers
from turnstream_gateway.resources import ProviderList, ProviderResource, RouteList
from turnstream_gateway.tenants import Tenant


def inspect(app: FastAPI, providers: Providers) -> APIRouter:
    """Return the routes that tell what there is in `app` and behind it."""
    router = APIRouter(prefix="/v1")

    @router.get("/providers", response_model=ProviderList)
    async def list_providers(_tenant: Tenant) -> JSONResponse:
        return JSONResponse({"data": await providers.list()})

    @router.get("/providers/{provider_id}", response_model=ProviderResource)
    async def retrieve_provider(_tenant: Tenant, provider_id: str) -> JSONResponse:
        return JSONResponse(await providers.get(provider_id))

    @router.get("/inspect/routes", response_model=RouteList)
    async def list_routes(
        _tenant: Tenant, api_filter: Literal["v1", "v1alpha", "v1beta", "deprecated"] | None = None
    ) -> JSONResponse:
        """List the routes of one level of the API, or all; none is deprecated."""
        listed = [
            {"route": path, "method": method.upper(), "provider_types": []}
            for path, methods in app.openapi()["paths"].items()
            if api_filter is None or path.startswith(f"/{api_filter}/")
            for method in methods
        ]
        return JSONResponse({"data": listed})

    return router
