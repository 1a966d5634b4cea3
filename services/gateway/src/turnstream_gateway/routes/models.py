"""The routes of `/v1/models`."""

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from turnstream_gateway.models import Models
from turnstream_gateway.resources import ModelList, ModelResource


def models(models: Models) -> APIRouter:
    """Return the routes of `/v1/models`."""
    router = APIRouter(prefix="/v1/models")

    @router.get("", response_model=ModelList)
    async def list_models() -> JSONResponse:
        return JSONResponse({"object": "list", "data": await models.list()})

    @router.get("/{model_id:path}", response_model=ModelResource)
    async def retrieve(model_id: str) -> JSONResponse:
        return JSONResponse(await models.get(model_id))

    return router
