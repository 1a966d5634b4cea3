"""The routes of `/v1/conversations`."""

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from turnstream_gateway.conversations import Conversations
from turnstream_gateway.openapi import failing
from turnstream_gateway.pages import PageQuery
from turnstream_gateway.requests import CreateConversation, CreateItems, UpdateConversation
from turnstream_gateway.resource_items import ItemResource
from turnstream_gateway.resources import ConversationResource, DeletedConversation, ItemList
from turnstream_gateway.tenants import Tenant


def conversations(conversations: Conversations) -> APIRouter:
    """Return the routes of `/v1/conversations`."""
    router = APIRouter(prefix="/v1/conversations")

    @router.post("", response_model=ConversationResource, responses=failing(404))
    async def create(tenant: Tenant, body: CreateConversation | None = None) -> JSONResponse:
        return JSONResponse((await conversations.create(tenant, body or CreateConversation())).resource())

    @router.get("/{conversation_id}", response_model=ConversationResource)
    async def retrieve(tenant: Tenant, conversation_id: str) -> JSONResponse:
        return JSONResponse((await conversations.get(tenant, conversation_id)).resource())

    @router.post("/{conversation_id}", response_model=ConversationResource)
    async def update(tenant: Tenant, conversation_id: str, body: UpdateConversation) -> JSONResponse:
        return JSONResponse((await conversations.update(tenant, conversation_id, body)).resource())

    @router.delete("/{conversation_id}", response_model=DeletedConversation)
    async def delete(tenant: Tenant, conversation_id: str) -> JSONResponse:
        return JSONResponse(await conversations.delete(tenant, conversation_id))

    @router.get("/{conversation_id}/items", response_model=ItemList)
    async def items(tenant: Tenant, conversation_id: str, page: PageQuery) -> JSONResponse:
        return JSONResponse(await conversations.items(tenant, conversation_id, page))

    @router.post("/{conversation_id}/items", response_model=ItemList)
    async def add_items(tenant: Tenant, conversation_id: str, body: CreateItems) -> JSONResponse:
        return JSONResponse(await conversations.add_items(tenant, conversation_id, body))

    @router.get("/{conversation_id}/items/{item_id}", response_model=ItemResource)
    async def item(tenant: Tenant, conversation_id: str, item_id: str) -> JSONResponse:
        return JSONResponse(await conversations.item(tenant, conversation_id, item_id))

    @router.delete("/{conversation_id}/items/{item_id}", response_model=ConversationResource)
    async def delete_item(tenant: Tenant, conversation_id: str, item_id: str) -> JSONResponse:
        return JSONResponse((await conversations.delete_item(tenant, conversation_id, item_id)).resource())

    return router
