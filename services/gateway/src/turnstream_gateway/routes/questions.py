"""The routes of questions about a response that is not created."""

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from turnstream_gateway.asking import Asking
from turnstream_gateway.openapi import ASKING, failing
from turnstream_gateway.requests import CountTokens, Question
from turnstream_gateway.resources import CompactionResource, InputTokensResource
from turnstream_gateway.tenants import Tenant


def questions(asking: Asking) -> APIRouter:
    """Return the routes of `/v1/responses/input_tokens` and `/v1/responses/compact`."""
    router = APIRouter(prefix="/v1/responses")

    @router.post("/input_tokens", response_model=InputTokensResource, responses=failing(404, *ASKING))
    async def count_tokens(tenant: Tenant, body: CountTokens) -> JSONResponse:
        return JSONResponse(await asking.count_tokens(tenant, body))

    @router.post("/compact", response_model=CompactionResource, responses=failing(404, *ASKING))
    async def compact(tenant: Tenant, body: Question) -> JSONResponse:
        return JSONResponse(await asking.compact(tenant, body))

    return router
