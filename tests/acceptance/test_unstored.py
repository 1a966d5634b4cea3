"""Responses that are not to be stored: gone for everybody but who asked, and their content with them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import openai
import pytest
from support.deployment import Deployment, Gateway

SOON = 10  # seconds
SECRET = "the-words-that-must-not-stay"


@pytest.fixture
async def database(deployment: Deployment) -> AsyncIterator[asyncpg.Connection]:
    """The database behind Turnstream."""
    connection = await asyncpg.connect(deployment.infrastructure.dsn)
    yield connection
    await connection.close()


async def erased_row(database: asyncpg.Connection, response: str) -> str:
    """Return all that the row of a response holds, as text, once its worker has let go of it."""
    select = "SELECT to_json(turns)::text AS row, input::text FROM turns WHERE id = $1"
    async with asyncio.timeout(SOON):
        while True:
            row = await database.fetchrow(select, response)
            assert row is not None
            if row["input"] == "[]":
                return str(row["row"])


async def unstored(client: openai.AsyncOpenAI, **asked: Any) -> str:
    """Create a response that is not to be stored, with the secret in all that can hold one; return its id."""
    response = await client.responses.create(
        model="stand-in",
        input=f"repeat {SECRET}",
        instructions=f"never tell {SECRET}",
        metadata={"secret": SECRET},
        store=False,
        **asked,
    )
    assert SECRET in response.output_text
    assert response.to_dict()["store"] is False
    response_id: str = response.id
    return response_id


async def test_not_there(client: openai.AsyncOpenAI, gateway: Gateway) -> None:
    """A response that is not stored is given once, and is not there for any other use."""
    response = await unstored(client)
    uses: list[Any] = [
        client.responses.retrieve(response),
        client.responses.retrieve(response, stream=True),
        client.responses.cancel(response),
        client.responses.delete(response),
        client.responses.input_items.list(response),
        client.responses.create(model="stand-in", input="x", previous_response_id=response),
    ]
    for use in uses:
        with pytest.raises(openai.NotFoundError) as refused:
            await use
        assert SECRET not in refused.value.message
    async with httpx.AsyncClient(base_url=gateway.url) as http:
        listed = (await http.get("/v1/responses", params={"limit": 100})).json()["data"]
        assert response not in [found["id"] for found in listed]
        assert (await http.get(f"/v1/turns/{response}/events")).status_code == httpx.codes.NOT_FOUND


async def test_items_are_not_there(client: openai.AsyncOpenAI) -> None:
    """What was asked and answered cannot be named afterwards."""
    response = await client.responses.create(model="stand-in", input="gone at once", store=False)
    item: Any = {"type": "item_reference", "id": response.output[0].id}
    with pytest.raises(openai.NotFoundError):
        await client.responses.create(model="stand-in", input=[item])


async def test_content_is_erased(client: openai.AsyncOpenAI, database: asyncpg.Connection) -> None:
    """Of a response that has ended nothing stays in the database but that it was there."""
    assert SECRET not in await erased_row(database, await unstored(client))


async def test_content_is_erased_however_it_ends(
    client: openai.AsyncOpenAI, deployment: Deployment, database: asyncpg.Connection
) -> None:
    """The same holds for one whose model fails with the words in its mouth."""
    error = {"status": 400, "message": f"I cannot say {SECRET}", "after_tokens": 2}
    await deployment.script(f"fail with {SECRET}", {"text": f"{SECRET} {SECRET} {SECRET}", "error": error})
    response = await client.responses.create(model="stand-in", input=f"fail with {SECRET}", store=False)
    assert response.status == "failed"
    assert SECRET not in await erased_row(database, response.id)


async def test_content_is_erased_when_its_client_goes(client: openai.AsyncOpenAI, database: asyncpg.Connection) -> None:
    """The same holds for a stream that its client leaves in the middle, which nobody reads to its end."""
    stream = await client.responses.create(
        model="stand-in", input=f"[stand-in tokens=20 delay_ms=20] {SECRET}", store=False, stream=True
    )
    async for event in stream:
        if event.type == "response.output_text.delta":
            break
        if event.type == "response.created":
            response = event.response.id
    await stream.close()
    assert SECRET not in await erased_row(database, response)


async def test_cancelled(client: openai.AsyncOpenAI, database: asyncpg.Connection) -> None:
    """It can be cancelled while it runs, by who has its id, and is erased then."""
    stream = await client.responses.create(
        model="stand-in", input=f"[stand-in tokens=1000 delay_ms=50] {SECRET}", store=False, stream=True
    )
    async with asyncio.timeout(SOON):
        async for event in stream:
            if event.type == "response.created":
                response = event.response.id
            if event.type == "response.output_text.delta":
                assert (await client.responses.cancel(response)).status == "cancelled"
                break
        last = [event async for event in stream][-1]
    assert last.type == "response.incomplete"
    assert SECRET not in await erased_row(database, response)


async def test_streamed(client: openai.AsyncOpenAI) -> None:
    """Its stream is as any other's."""
    stream = await client.responses.create(model="stand-in", input="stream and forget", store=False, stream=True)
    events = [event async for event in stream]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    last = events[-1]
    assert last.type == "response.completed"
    assert "stream and forget" in last.response.output_text
    assert last.response.to_dict()["store"] is False


async def test_sent_again(client: openai.AsyncOpenAI, deployment: Deployment, database: asyncpg.Connection) -> None:
    """A client's own retry gets the response that its first try began, though its content is erased by then."""
    asked: dict[str, Any] = {"model": "stand-in", "input": "asked but once", "store": False}
    first = await client.responses.create(**asked)
    await erased_row(database, first.id)
    again = await client.responses.create(**asked, extra_headers={"x-stainless-retry-count": "1"})
    assert again == first
    keyed = {**asked, "extra_headers": {"idempotency-key": "asked-but-once"}}
    second = await client.responses.create(**keyed)
    await erased_row(database, second.id)
    assert await client.responses.create(**keyed) == second
    streamed = [event async for event in await client.responses.create(**asked, stream=True)]
    assert streamed[0].type == "response.created"
    assert streamed[0].response.id not in {first.id, second.id}
    assert len(await deployment.model_requests("asked but once")) == 3


async def test_in_a_conversation(client: openai.AsyncOpenAI, database: asyncpg.Connection) -> None:
    """A conversation gets its items all the same: it was made to keep them."""
    conversation = await client.conversations.create()
    response = await client.responses.create(
        model="stand-in", input="My name is Ada.", conversation=conversation.id, store=False
    )
    await erased_row(database, response.id)
    items = [item async for item in client.conversations.items.list(conversation.id)]
    assert len(items) == 2
    second = await client.responses.create(model="stand-in", input="Who am I?", conversation=conversation.id)
    assert 'the first was: "My name is Ada."' in second.output_text


async def test_behind_a_stored_one(client: openai.AsyncOpenAI) -> None:
    """It may follow a response that is stored."""
    first = await client.responses.create(model="stand-in", input="My name is Ada.")
    second = await client.responses.create(
        model="stand-in", input="Who am I?", previous_response_id=first.id, store=False
    )
    assert 'the first was: "My name is Ada."' in second.output_text


async def test_not_in_the_background(client: openai.AsyncOpenAI) -> None:
    """It cannot run in the background, where nobody could ever read it."""
    with pytest.raises(openai.BadRequestError) as refused:
        await client.responses.create(model="stand-in", input="x", background=True, store=False)
    assert refused.value.param == "store"
