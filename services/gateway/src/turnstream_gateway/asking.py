"""Ask a worker about a turn without running it: how many tokens it would read, and what it would be summed up to."""

import time
from dataclasses import dataclass
from typing import Any

import orjson

from turnstream import subjects
from turnstream.bus import Bus
from turnstream.errors import BusUnavailableError, InvalidRequestError, NotFoundError, UnavailableError
from turnstream.ids import new_id
from turnstream.store import Store
from turnstream_gateway.models import Models
from turnstream_gateway.questions import Questions
from turnstream_gateway.requests import CountTokens, Question


@dataclass(frozen=True, slots=True)
class Asking:
    """Asks for a tenant. Every method raises NotFoundError for what is not this tenant's, and TurnError."""

    bus: Bus
    store: Store
    models: Models
    questions: Questions

    async def count_tokens(self, tenant: str, body: CountTokens) -> dict[str, Any]:
        """Return how many tokens a model would read, as its provider counts them.

        Raises InvalidRequestError for tools that only their server knows, and is asked about in a turn alone.
        """
        if any(tool.type == "mcp" for tool in body.tools):
            message = "What the tools of an MCP server come to cannot be counted: only a turn asks the server for them."
            raise InvalidRequestError(message, code="invalid_value", param="tools")
        return {"object": "response.input_tokens", "input_tokens": await self._ask(subjects.COUNT_TOKENS, tenant, body)}

    async def compact(self, tenant: str, body: Question) -> dict[str, Any]:
        """Return the items that a conversation is summed up to."""
        answer = await self._ask(subjects.COMPACT, tenant, body)
        created = int(time.time())
        return {"id": new_id("resp_"), "object": "response.compaction", "created_at": created, **answer}

    async def _ask(self, subject: str, tenant: str, body: Question) -> Any:
        await self.models.check(body.model)
        await self._check_past(tenant, body)
        asked = await self.questions.read(tenant, new_id("resp_"), body)
        question = {
            "tenant": tenant,
            "conversation": body.conversation,
            "previous": body.previous_response_id,
            "request": asked.parameters,
            "input": asked.items,
        }
        try:
            async with self.bus.stream(subject, orjson.dumps(question)) as answer:
                await answer.begin()
                pieces = []
                while piece := await answer.next():
                    pieces.append(piece)
        except BusUnavailableError as error:
            raise UnavailableError("No worker could take the question. Try again.") from error
        return orjson.loads(b"".join(pieces))

    async def _check_past(self, tenant: str, body: Question) -> None:
        previous, conversation = body.previous_response_id, body.conversation
        if previous:
            found = await self.store.turn(tenant, previous)
            if found is None or not found.stored:
                message = f"Previous response '{previous}' was not found."
                raise NotFoundError(message, code="previous_response_not_found", param="previous_response_id")
        if conversation and await self.store.conversation(tenant, conversation) is None:
            message = f"Conversation '{conversation}' was not found."
            raise NotFoundError(message, code="conversation_not_found", param="conversation")
