"""The routes of `/v1/prompts`, as Llama Stack has them."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from turnstream_gateway.prompt import Prompt
from turnstream_gateway.prompt_requests import CreatePrompt, SetDefaultVersion, UpdatePrompt, Version
from turnstream_gateway.prompts import Prompts
from turnstream_gateway.resources import PromptList, PromptResource
from turnstream_gateway.tenants import Tenant

NOTHING: dict[int | str, dict[str, Any]] = {200: {"content": {"application/json": {"schema": {"type": "null"}}}}}


def prompts(prompts: Prompts) -> APIRouter:
    """Return the routes of `/v1/prompts`."""
    router = APIRouter(prefix="/v1/prompts")

    @router.post("", response_model=PromptResource)
    async def create(tenant: Tenant, body: CreatePrompt) -> JSONResponse:
        return JSONResponse((await prompts.create(tenant, body)).resource())

    @router.get("", response_model=PromptList)
    async def list_prompts(tenant: Tenant) -> JSONResponse:
        return _list(await prompts.list(tenant))

    @router.get("/{prompt_id}", response_model=PromptResource)
    async def retrieve(
        tenant: Tenant, prompt_id: str, version: Annotated[Version | None, Query()] = None
    ) -> JSONResponse:
        return JSONResponse((await prompts.get(tenant, prompt_id, version)).resource())

    @router.put("/{prompt_id}", response_model=PromptResource)
    async def update(tenant: Tenant, prompt_id: str, body: UpdatePrompt) -> JSONResponse:
        return JSONResponse((await prompts.update(tenant, prompt_id, body)).resource())

    @router.delete("/{prompt_id}", responses=NOTHING)
    async def delete(tenant: Tenant, prompt_id: str) -> JSONResponse:
        await prompts.delete(tenant, prompt_id)
        return JSONResponse(None)  # and no 204: Llama Stack answers so

    @router.get("/{prompt_id}/versions", response_model=PromptList)
    async def versions(tenant: Tenant, prompt_id: str) -> JSONResponse:
        return _list(await prompts.versions(tenant, prompt_id))

    @router.put("/{prompt_id}/set-default-version", response_model=PromptResource)
    async def set_default_version(tenant: Tenant, prompt_id: str, body: SetDefaultVersion) -> JSONResponse:
        return JSONResponse((await prompts.set_default(tenant, prompt_id, body.version)).resource())

    return router


def _list(found: Sequence[Prompt]) -> JSONResponse:
    return JSONResponse({"data": [prompt.resource() for prompt in found]})
