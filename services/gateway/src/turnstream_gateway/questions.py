"""What a model is asked, with all that it refers to put in its place."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from turnstream.attachment import NOUNS, Part, check_attachment, is_attachment
from turnstream.errors import InvalidRequestError, MediaError, NotConfiguredError, NotFoundError, TooLargeError
from turnstream.ids import item_id
from turnstream.secrets import Secrets
from turnstream.store import Store
from turnstream.turns import Item
from turnstream_gateway.items import InputItem, ItemReference, SystemMessage, UserMessage
from turnstream_gateway.prompt_reference import PromptReference
from turnstream_gateway.prompts import Prompts
from turnstream_gateway.requests import CreateResponse, Question

# Bytes of JSON. A turn's parameters stand in three of its events, and an event has to fit into a message of the bus.
PARAMETERS_LIMIT = 512 << 10
REFERENCED_LIMIT = 16 << 20  # bytes of JSON: a short body can name a large item a thousand times
ATTACHMENT_LIMIT = 20 << 20  # bytes of what an attachment carries itself
SECRETS_LIMIT = 64 << 10  # bytes of JSON
CALLS = {"function_call": "function_call_output", "custom_tool_call": "custom_tool_call_output"}


@dataclass(frozen=True, slots=True)
class Asked:
    """A question in its canonical form."""

    parameters: dict[str, Any]
    items: list[Item]
    secrets: bytes | None  # what came along for its tools and providers alone, sealed


@dataclass(frozen=True, slots=True)
class Questions:
    """Reads what tenants ask."""

    store: Store
    prompts: Prompts
    secrets: Secrets

    async def read(self, tenant: str, owner: str, body: Question, provider_data: dict[str, Any] | None = None) -> Asked:
        """Return what is asked, its items owned by the turn `owner`, for which its secrets are sealed.

        Those are `{"tools": {server_label: {"headers", "authorization"}}, "provider_data": {...}}`, each where there is
        any. Raises NotFoundError for what it refers to and is not the tenant's, InvalidRequestError, TooLargeError, and
        NotConfiguredError where secrets cannot be kept.
        """
        parameters = body.parameters()
        if isinstance(body, CreateResponse) and body.prompt:
            parameters |= await self._prompt(tenant, owner, body.prompt)
        if isinstance(body.instructions, str):
            parameters["instructions"] = body.instructions
        elif body.instructions:
            parameters["instructions"] = await self.items(tenant, owner, body.instructions, param="instructions")
        if len(orjson.dumps(parameters)) > PARAMETERS_LIMIT:
            message = f"The parameters without the input are larger than {PARAMETERS_LIMIT} bytes."
            raise TooLargeError(message, code="parameters_too_large")
        items = await self.items(tenant, owner, body.input or [], conversation=body.conversation)
        if not body.has_past:
            _check_calls(items)
        given = {"tools": body.secrets, "provider_data": provider_data}
        return Asked(parameters, items, self._sealed(owner, {name: value for name, value in given.items() if value}))

    async def items(
        self,
        tenant: str,
        owner: str,
        given: Sequence[InputItem],
        *,
        conversation: str | None = None,
        param: str = "input",
    ) -> list[Item]:
        """Return a client's items as they are stored; a reference becomes a copy of the item that it names."""
        wanted = [item.id for item in given if isinstance(item, ItemReference)]
        found = await self.store.referenced(tenant, wanted, conversation) if wanted else {}
        if missing := next((wanted_id for wanted_id in wanted if wanted_id not in found), None):
            raise NotFoundError(f"Item '{missing}' was not found.", code="item_not_found", param=param)
        sizes = {found_id: len(orjson.dumps(item)) for found_id, item in found.items()}
        if sum(sizes[wanted_id] for wanted_id in wanted) > REFERENCED_LIMIT:
            message = f"The items that are referred to are larger than {REFERENCED_LIMIT} bytes."
            raise TooLargeError(message, code="items_too_large", param=param)
        items = [
            copy_item(found[item.id], owner) if isinstance(item, ItemReference) else item.item(owner) for item in given
        ]
        _follow_approvals(zip((item.id for item in given), items, strict=True))
        if attached := list(_attachments(items, param)):
            # In a thread, since reading many megabytes of base64 takes long.
            await asyncio.to_thread(_check_attachments, attached)
        return items

    def _sealed(self, turn: str, given: dict[str, Any]) -> bytes | None:
        if not given:
            return None
        if not self.secrets.configured:
            message = "The request brings secrets, which cannot be kept here: TURNSTREAM_SECRETS_KEY is not set."
            raise NotConfiguredError(message, code="secrets_not_configured")
        if len(orjson.dumps(given)) > SECRETS_LIMIT:
            message = f"The headers and authorizations of tools are larger than {SECRETS_LIMIT} bytes."
            raise TooLargeError(message, code="secrets_too_large", param="tools")
        return self.secrets.seal(turn, given)

    async def _prompt(self, tenant: str, owner: str, reference: PromptReference) -> dict[str, Any]:
        """Return a prompt as the response shows it, and the items that it puts before the conversation."""
        rendered = await self.prompts.render(tenant, reference)
        shown = reference.model_dump(mode="json", exclude_none=True) | {"version": str(rendered.version)}
        items = [SystemMessage.model_validate({"role": "developer", "content": rendered.text}).item(owner)]
        if rendered.media:
            items.append(UserMessage.model_validate({"role": "user", "content": rendered.media}).item(owner))
        return {"prompt": {"variables": None, **shown}, "prompt_items": items}


def copy_item(item: Item, owner: str) -> Item:
    """Return an item for another owner, with an id of its own: pages of a list go on behind an id that stands once.

    But what asks for approval stays what it is, since it can be allowed once.
    """
    if item["type"] == "mcp_approval_request":
        return item
    return {**item, "id": item_id(f"{item['id'].partition('_')[0]}_", owner)}


def _follow_approvals(items: Iterable[tuple[str | None, Item]]) -> None:
    """Let what names a request for approval that stands before it name it by the id that it has now.

    `items` are the stored items, each with the id that its client knows it by.
    """
    requests: dict[str, str] = {}
    for known, item in items:
        if item["type"] == "mcp_approval_request" and known:
            requests[known] = item["id"]
        elif (request := item.get("approval_request_id")) in requests:
            item["approval_request_id"] = requests[request]


def _attachments(items: list[Item], param: str) -> Iterator[tuple[str, Part]]:
    """Yield the attachments among items, each with its place in the body."""
    for place, item in enumerate(items):
        for field in ("content", "output"):
            for part_place, part in enumerate(item[field] if isinstance(item.get(field), list) else ()):
                if is_attachment(part):
                    yield f"{param}[{place}].{field}[{part_place}]", part


def _check_attachments(attached: list[tuple[str, Part]]) -> None:
    """Raise InvalidRequestError for an attachment that is of no use, as far as that can be told without fetching it."""
    for param, part in attached:
        try:
            check_attachment(part, ATTACHMENT_LIMIT)
        except MediaError as error:
            message = f"The {NOUNS[part['type']]} cannot be used. {error.message}"
            code = error.image_code if part["type"] == "input_image" else "invalid_value"
            raise InvalidRequestError(message, code=code, param=param) from error


def _check_calls(items: list[Item]) -> None:
    """Raise InvalidRequestError for what answers nothing before it: providers are unclear about it."""
    called = set()
    for place, item in enumerate(items):
        match item["type"]:
            case "mcp_approval_request":
                called.add(("mcp_approval_response", item["id"]))
            case "mcp_approval_response" as kind if (kind, item["approval_request_id"]) not in called:
                answered = item["approval_request_id"]
                message = f"No approval request was found for the response with approval_request_id '{answered}'."
                param = f"input[{place}].approval_request_id"
                raise InvalidRequestError(message, code="invalid_value", param=param)
            case kind if kind in CALLS:
                called.add((CALLS[kind], item["call_id"]))
            case kind if kind in CALLS.values() and (kind, item["call_id"]) not in called:
                message = f"No tool call was found for the output with call_id '{item['call_id']}'."
                raise InvalidRequestError(message, code="invalid_value", param=f"input[{place}].call_id")
