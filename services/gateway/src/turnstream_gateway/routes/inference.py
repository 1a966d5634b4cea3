"""The routes that lead straight to a model: chat completions, completions and embeddings."""

from typing import Annotated

from fastapi import APIRouter, Header, Request, Response

from turnstream_gateway.calls import ChatCall, CompletionCall, EmbeddingsCall
from turnstream_gateway.openapi import ASKING, PROVIDERS_ANSWER, PROVIDERS_STREAM, failing
from turnstream_gateway.pass_through import PassThrough
from turnstream_gateway.tenants import Tenant

# llama-stack-client says which it is. Up to 0.6 it fails on [DONE], which Llama Stack does not send.
type LlamaStackClient = Annotated[str | None, Header(alias="x-llamastack-client-version")]


def inference(pass_through: PassThrough) -> APIRouter:
    """Return the routes that lead straight to a model."""
    router = APIRouter(prefix="/v1")
    failures = failing(404, *ASKING)

    @router.post("/chat/completions", response_model=None, responses={**PROVIDERS_STREAM, **failures})
    async def chat(_tenant: Tenant, request: Request, call: ChatCall, client: LlamaStackClient = None) -> Response:
        body = await request.body()
        return await pass_through.answer("chat/completions", call, body, says_done=client is None)

    @router.post("/completions", response_model=None, responses={**PROVIDERS_STREAM, **failures})
    async def completions(
        _tenant: Tenant, request: Request, call: CompletionCall, client: LlamaStackClient = None
    ) -> Response:
        body = await request.body()
        return await pass_through.answer("completions", call, body, says_done=client is None)

    @router.post("/embeddings", response_model=None, responses={**PROVIDERS_ANSWER, **failures})
    async def embeddings(_tenant: Tenant, request: Request, call: EmbeddingsCall) -> Response:
        return await pass_through.answer("embeddings", call, await request.body())

    return router
