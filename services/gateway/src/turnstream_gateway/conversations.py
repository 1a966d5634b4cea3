"""Conversations and their items."""

from dataclasses import dataclass
from typing import Any

from turnstream.bus import Bus
from turnstream.errors import BusUnavailableError, NotFoundError
from turnstream.ids import is_well_formed, new_id
from turnstream.logs import log
from turnstream.store import Store
from turnstream.turns import Conversation, Item
from turnstream_gateway.pages import Page, list_object, not_in_list
from turnstream_gateway.questions import Questions
from turnstream_gateway.requests import CreateConversation, CreateItems, UpdateConversation


@dataclass(frozen=True, slots=True)
class Conversations:
    """A tenant's conversations. Every method raises NotFoundError for what is not this tenant's."""

    bus: Bus
    store: Store
    questions: Questions
    patience: float  # seconds to try to queue a turn

    async def create(self, tenant: str, body: CreateConversation) -> Conversation:
        """Store a new conversation."""
        conversation = new_id("conv_")
        items = await self.questions.items(tenant, conversation, body.items, param="items")
        return await self.store.create_conversation(conversation, tenant, body.metadata or {}, items)

    async def get(self, tenant: str, conversation: str) -> Conversation:
        """Return a conversation."""
        found = await self.store.conversation(tenant, conversation) if is_well_formed(conversation) else None
        if found is None:
            raise _not_found(conversation)
        return found

    async def update(self, tenant: str, conversation: str, body: UpdateConversation) -> Conversation:
        """Replace a conversation's metadata."""
        await self.get(tenant, conversation)
        updated = await self.store.update_conversation(tenant, conversation, body.metadata or {})
        if updated is None:
            raise _not_found(conversation)
        return updated

    async def delete(self, tenant: str, conversation: str) -> dict[str, Any]:
        """Delete a conversation with its items. Its turns that have not ended find that it is gone, and fail."""
        line = await self.store.delete_conversation(tenant, conversation) if is_well_formed(conversation) else None
        if line is None:
            raise _not_found(conversation)
        for turn in line:
            try:
                await self.bus.enqueue(tenant, turn, f"{turn}:orphaned", patience=self.patience)
            except BusUnavailableError as error:
                log.warning("turn.not_queued", turn=turn, error=str(error))  # a worker finds it and queues it
                break
        return {"id": conversation, "object": "conversation.deleted", "deleted": True}

    async def items(self, tenant: str, conversation: str, page: Page) -> dict[str, Any]:
        """Return a page of a conversation's items, as a list object."""
        await self.get(tenant, conversation)
        if page.after and await self.store.item(tenant, conversation, page.after) is None:
            raise not_in_list(page.after)
        found = await self.store.items(
            tenant, conversation, after=page.after, limit=page.limit + 1, newest_first=page.newest_first
        )
        return list_object(found, page.limit)

    async def add_items(self, tenant: str, conversation: str, body: CreateItems) -> dict[str, Any]:
        """Add items to a conversation; return them as a list object."""
        await self.get(tenant, conversation)
        items = await self.questions.items(tenant, conversation, body.items, conversation=conversation, param="items")
        await self.store.add_items(tenant, conversation, items)
        return list_object(items, len(items))

    async def item(self, tenant: str, conversation: str, item: str) -> Item:
        """Return an item of a conversation."""
        await self.get(tenant, conversation)
        found = await self.store.item(tenant, conversation, item) if is_well_formed(item) else None
        if found is None:
            raise _item_not_found(item)
        return found

    async def delete_item(self, tenant: str, conversation: str, item: str) -> Conversation:
        """Delete an item of a conversation; return the conversation."""
        found = await self.get(tenant, conversation)
        if not (is_well_formed(item) and await self.store.delete_item(tenant, conversation, item)):
            raise _item_not_found(item)
        return found


def _not_found(conversation: str) -> NotFoundError:
    return NotFoundError(f"Conversation '{conversation}' was not found.", code="conversation_not_found")


def _item_not_found(item: str) -> NotFoundError:
    return NotFoundError(f"Item '{item}' was not found in this conversation.", code="item_not_found")
