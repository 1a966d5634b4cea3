"""Conversations through the openai SDK: what they hold, what turns read of them and add to them, and how they end."""

import asyncio
from typing import Any, Literal

import openai
import pytest
from support.deployment import Deployment

SOON = 30  # seconds
type Order = Literal["asc", "desc"]


def user(text: str) -> Any:
    """Make a message of the user."""
    return {"type": "message", "role": "user", "content": text}


async def ids(client: openai.AsyncOpenAI, conversation: str, order: Order = "asc", limit: int = 100) -> list[Any]:
    """Return the ids of a conversation's items, read in pages."""
    pages = client.conversations.items.list(conversation, order=order, limit=limit)
    return [item.id async for item in pages]


async def texts(client: openai.AsyncOpenAI, conversation: str) -> list[str]:
    """Return the texts of a conversation's messages."""
    listed = [item.model_dump() async for item in client.conversations.items.list(conversation, order="asc", limit=100)]
    return [item["content"][0]["text"] for item in listed if item["type"] == "message"]


async def test_life(client: openai.AsyncOpenAI) -> None:
    """A conversation is created, read, given other metadata, and deleted with all that it holds."""
    made = await client.conversations.create(metadata={"topic": "a"}, items=[user("one")])
    assert (made.object, made.metadata) == ("conversation", {"topic": "a"})
    assert await client.conversations.retrieve(made.id) == made
    assert (await client.conversations.update(made.id, metadata={"b": "2"})).metadata == {"b": "2"}
    assert (await client.conversations.retrieve(made.id)).metadata == {"b": "2"}
    assert (await client.conversations.update(made.id, metadata=None)).metadata == {}
    [item] = await ids(client, made.id)
    deleted = await client.conversations.delete(made.id)
    assert (deleted.id, deleted.object, deleted.deleted) == (made.id, "conversation.deleted", True)
    uses: list[Any] = [
        client.conversations.retrieve(made.id),
        client.conversations.update(made.id, metadata={}),
        client.conversations.delete(made.id),
        client.conversations.items.list(made.id),
        client.conversations.items.create(made.id, items=[user("x")]),
        client.conversations.items.retrieve(item, conversation_id=made.id),
        client.conversations.items.delete(item, conversation_id=made.id),
        client.responses.create(model="stand-in", input="x", conversation=made.id),
        client.responses.create(model="stand-in", input=[{"type": "item_reference", "id": item}]),
    ]
    for use in uses:
        with pytest.raises(openai.NotFoundError):
            await use


async def test_empty(client: openai.AsyncOpenAI) -> None:
    """A conversation may begin with nothing."""
    made = await client.conversations.create()
    assert made.metadata == {}
    page = await client.conversations.items.list(made.id)
    assert (page.data, page.has_more) == ([], False)


async def test_pages(client: openai.AsyncOpenAI) -> None:
    """Items are read in pages of any size, in both orders, each once, newest first unless asked otherwise."""
    made = await client.conversations.create(items=[user(str(n)) for n in range(7)])
    forward = await ids(client, made.id)
    assert len(set(forward)) == 7
    for limit in (1, 2, 7, 100):
        assert await ids(client, made.id, "asc", limit) == forward
        assert await ids(client, made.id, "desc", limit) == forward[::-1]
    page = await client.conversations.items.list(made.id, after=forward[2], limit=3)
    assert [item.id for item in page.data] == [forward[1], forward[0]]
    first = await client.conversations.items.list(made.id, limit=3, include=["message.output_text.logprobs"])
    assert (first.has_more, first.last_id) == (True, forward[4])


async def test_items(client: openai.AsyncOpenAI) -> None:
    """Items are added at the end, each with an id of its own, and can be read and taken out one by one."""
    made = await client.conversations.create(items=[user("first")])
    kinds: list[Any] = [
        {"role": "developer", "content": "rules"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "x", "id": "theirs"},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "s"}], "encrypted_content": "e"},
    ]
    added = await client.conversations.items.create(made.id, items=kinds, include=["reasoning.encrypted_content"])
    expected = ["message", "message", "function_call", "function_call_output", "reasoning"]
    assert [item.type for item in added.data] == expected
    listed = [item async for item in client.conversations.items.list(made.id, order="asc")]
    assert listed[1:] == added.data
    assert added.data[3].id != "theirs"
    for item in listed:
        assert item.id
        assert await client.conversations.items.retrieve(item.id, conversation_id=made.id) == item
    assert listed[0].id
    after = await client.conversations.items.delete(listed[0].id, conversation_id=made.id)
    assert after.id == made.id
    with pytest.raises(openai.NotFoundError):
        await client.conversations.items.delete(listed[0].id, conversation_id=made.id)
    assert [item async for item in client.conversations.items.list(made.id, order="asc")] == listed[1:]


async def test_items_of_another_conversation(client: openai.AsyncOpenAI) -> None:
    """An item is found in its own conversation alone, and a copy of it by reference is another item."""
    one, other = [await client.conversations.create(items=[user(text)]) for text in ("one", "other")]
    [item] = await ids(client, one.id)
    with pytest.raises(openai.NotFoundError):
        await client.conversations.items.retrieve(item, conversation_id=other.id)
    reference: Any = {"type": "item_reference", "id": item}
    await client.conversations.items.create(other.id, items=[reference, reference])
    assert await texts(client, other.id) == ["other", "one", "one"]
    assert len({item, *await ids(client, other.id)}) == 4


@pytest.mark.parametrize(
    "body",
    [
        {"metadata": {"k" * 65: ""}},
        {"metadata": {"k": "v" * 513}},
        {"items": [user("x")] * 21},
        {"items": [{"role": "nobody", "content": "x"}]},
        {"extra_body": {"topic": "x"}},
    ],
)
async def test_what_is_no_conversation(client: openai.AsyncOpenAI, body: dict[str, Any]) -> None:
    """A conversation that cannot be kept as it was sent is refused."""
    with pytest.raises(openai.BadRequestError):
        await client.conversations.create(**body)


# Turns


async def test_turns_in_a_row(client: openai.AsyncOpenAI, deployment: Deployment) -> None:
    """Each turn reads all that stands before it, and adds its input and its output when it has ended."""
    made = await client.conversations.create(items=[user("My name is Ada.")])
    first = await client.responses.create(model="stand-in", input="What is my name?", conversation={"id": made.id})
    assert first.conversation
    assert first.conversation.id == made.id
    await client.responses.create(model="stand-in", input="the third question", conversation=made.id, stream=False)
    [request] = await deployment.model_requests("the third question")
    said = [message["content"] for message in request["messages"]]
    assert said == ["My name is Ada.", "What is my name?", first.output_text, "the third question"]
    assert len(await ids(client, made.id)) == 5
    assert first.output[0].id in await ids(client, made.id)


async def test_without_input(client: openai.AsyncOpenAI, deployment: Deployment) -> None:
    """A turn may ask for nothing new: what was put into the conversation is the question."""
    made = await client.conversations.create(items=[user("asked beforehand")])
    response = await client.responses.create(model="stand-in", conversation=made.id)
    assert "asked beforehand" in response.output_text
    [request] = await deployment.model_requests("asked beforehand")
    assert len(request["messages"]) == 1


async def test_failed_turn(client: openai.AsyncOpenAI, deployment: Deployment) -> None:
    """A turn that fails or is cancelled adds nothing; the conversation goes on as if it had not been."""
    await deployment.script("fail in it", {"error": {"status": 400, "message": "no"}})
    made = await client.conversations.create(items=[user("one")])
    failed = await client.responses.create(model="stand-in", input="fail in it", conversation=made.id)
    assert failed.status == "failed"
    endless = "[stand-in tokens=1000 delay_ms=50] go on"
    running = await client.responses.create(model="stand-in", input=endless, conversation=made.id, background=True)
    await client.responses.cancel(running.id)
    assert await texts(client, made.id) == ["one"]
    later = await client.responses.create(model="stand-in", input="two", conversation=made.id)
    assert later.output_text.startswith('I am the stand-in model. You said: "two". I have seen 2 user messages')


async def test_incomplete_turn(client: openai.AsyncOpenAI) -> None:
    """A turn that was cut off adds what there is, marked as incomplete."""
    made = await client.conversations.create()
    await client.responses.create(
        model="stand-in", input="[stand-in tokens=50] go on", conversation=made.id, max_output_tokens=16
    )
    listed = [item.model_dump() async for item in client.conversations.items.list(made.id, order="asc")]
    assert [(item["role"], item["status"]) for item in listed] == [("user", "completed"), ("assistant", "incomplete")]


async def test_deleted_turn(client: openai.AsyncOpenAI) -> None:
    """A conversation keeps the items of a turn that is deleted."""
    made = await client.conversations.create()
    response = await client.responses.create(model="stand-in", input="one", conversation=made.id)
    await client.responses.delete(response.id)
    assert await texts(client, made.id) == ["one", response.output_text]


async def test_deleted_item(client: openai.AsyncOpenAI, deployment: Deployment) -> None:
    """A turn does not read what was taken out of its conversation."""
    made = await client.conversations.create(items=[user("forget me"), user("keep me")])
    await client.conversations.items.delete((await ids(client, made.id))[0], conversation_id=made.id)
    await client.responses.create(model="stand-in", input="what is left", conversation=made.id)
    [request] = await deployment.model_requests("what is left")
    assert [message["content"] for message in request["messages"]] == ["keep me", "what is left"]


async def test_deleted_while_a_turn_runs(client: openai.AsyncOpenAI) -> None:
    """A turn whose conversation is deleted under it ends as it would have, and leaves nothing behind."""
    made = await client.conversations.create()
    stream = await client.responses.create(
        model="stand-in", input="[stand-in tokens=20 delay_ms=20] go on", conversation=made.id, stream=True
    )
    async with asyncio.timeout(SOON):
        async for event in stream:
            if event.type == "response.output_text.delta":
                await client.conversations.delete(made.id)
                break
        last = [event async for event in stream][-1]
    assert last.type == "response.completed"
    with pytest.raises(openai.NotFoundError):
        await client.conversations.items.list(made.id)


async def test_followed_out_of_a_conversation(client: openai.AsyncOpenAI, deployment: Deployment) -> None:
    """A response in a conversation can be followed outside of it, with what stood before it there."""
    made = await client.conversations.create(items=[user("one")])
    first = await client.responses.create(model="stand-in", input="two", conversation=made.id)
    await client.responses.create(model="stand-in", input="three", conversation=made.id)
    await client.responses.create(model="stand-in", input="another three", previous_response_id=first.id)
    [request] = await deployment.model_requests("another three")
    assert [message["content"] for message in request["messages"]] == ["one", "two", first.output_text, "another three"]
    assert len(await ids(client, made.id)) == 5
