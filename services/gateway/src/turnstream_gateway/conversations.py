"""Conversations and their items."""

from dataclasses import dataclass
from typing import Any, Literal

from turnstream.errors import NotFoundError
from turnstream.ids import is_well_formed, new_id
from turnstream.store import Store
from turnstream.turns import Conversation
from turnstream_gateway.requests import CreateConversation


@dataclass(frozen=True, slots=True)
class Conversations:
    """A tenant's conversations."""

    store: Store

    async def create(self, tenant: str, body: CreateConversation) -> Conversation:
        """Store a new conversation."""
        return await self.store.create_conversation(new_id("conv_"), tenant, body.metadata or {})

    async def get(self, tenant: str, conversation: str) -> Conversation:
        """Return a conversation; raise NotFoundError if it is not this tenant's."""
        found = await self.store.conversation(tenant, conversation) if is_well_formed(conversation) else None
        if found is None:
            raise _not_found(conversation)
        return found

    async def delete(self, tenant: str, conversation: str) -> dict[str, Any]:
        """Delete a conversation with its items; raise NotFoundError if it is not this tenant's."""
        if not (is_well_formed(conversation) and await self.store.delete_conversation(tenant, conversation)):
            raise _not_found(conversation)
        return {"id": conversation, "object": "conversation.deleted", "deleted": True}

    async def items(
        self, tenant: str, conversation: str, *, after: str | None, limit: int, order: Literal["asc", "desc"]
    ) -> dict[str, Any]:
        """Return a page of a conversation's items, as a list object."""
        await self.get(tenant, conversation)
        # One more than asked for tells whether there are more.
        found = await self.store.items(conversation, after=after, limit=limit + 1, newest_first=order == "desc")
        page = found[:limit]
        return {
            "object": "list",
            "data": page,
            "first_id": page[0]["id"] if page else None,
            "last_id": page[-1]["id"] if page else None,
            "has_more": len(found) > limit,
        }


def _not_found(conversation: str) -> NotFoundError:
    return NotFoundError(f"Conversation '{conversation}' was not found.", code="conversation_not_found")
