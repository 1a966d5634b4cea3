"""The items of an input through the openai SDK: by reference, and as earlier answers, calls and thoughts sent back."""

from typing import Any, Literal

import openai
import pytest
from openai.types.responses import Response
from support.deployment import Deployment


async def create(client: openai.AsyncOpenAI, *items: Any, **asked: Any) -> str:
    """Create a response to some items and return its id."""
    response: Response = await client.responses.create(model="stand-in", input=list(items), **asked)
    assert response.status == "completed", response.error
    return response.id


async def messages_of(deployment: Deployment, text: str) -> list[dict[str, Any]]:
    """Return the messages of the last request that reached the model with a text."""
    messages: list[dict[str, Any]] = (await deployment.model_requests(text))[-1]["messages"]
    return messages


def user(text: str) -> Any:
    """Make a message of the user."""
    return {"role": "user", "content": text}


def reference(item: Any) -> Any:
    """Refer to an item by its id."""
    return {"type": "item_reference", "id": item.id}


# By reference


async def test_references(client: openai.AsyncOpenAI, deployment: Deployment) -> None:
    """Items of one's responses and conversations are named by their ids, and the model reads them in their place."""
    earlier = await client.responses.create(model="stand-in", input="what was asked")
    [asked] = [item async for item in client.responses.input_items.list(earlier.id)]
    conversation = await client.conversations.create(items=[user("what was noted")])
    [noted] = [item async for item in client.conversations.items.list(conversation.id)]
    [answered] = earlier.output
    made = await create(client, reference(asked), reference(answered), reference(noted), user("refer to it all"))
    said = [message["content"] for message in await messages_of(deployment, "refer to it all")]
    assert said == ["what was asked", earlier.output_text, "what was noted", "refer to it all"]
    listed = [item async for item in client.responses.input_items.list(made, order="asc")]
    assert len({item.id for item in (*listed, asked, answered, noted)}) == 7


async def test_reference_without_its_type(client: openai.AsyncOpenAI) -> None:
    """A reference may be no more than an id."""
    earlier = await client.responses.create(model="stand-in", input="short")
    await create(client, {"id": earlier.output[0].id})


async def test_reference_to_a_conversation_of_its_own(client: openai.AsyncOpenAI, deployment: Deployment) -> None:
    """An item that a turn put into a conversation is found there, also when the turn itself is deleted."""
    conversation = await client.conversations.create()
    turn = await client.responses.create(model="stand-in", input="keep this", conversation=conversation.id)
    await client.responses.delete(turn.id)
    with pytest.raises(openai.NotFoundError):
        await create(client, reference(turn.output[0]))
    await create(client, reference(turn.output[0]), user("go on here"), conversation=conversation.id)
    said = [message["content"] for message in await messages_of(deployment, "go on here")]
    assert said == ["keep this", turn.output_text, turn.output_text, "go on here"]


async def test_reference_to_the_same_item_twice(client: openai.AsyncOpenAI) -> None:
    """An item may stand in an input twice, and pages of the input show it twice and come to an end."""
    earlier = await client.responses.create(model="stand-in", input="twice")
    made = await create(client, *[reference(earlier.output[0])] * 2, user("once more"))
    orders: list[Literal["asc", "desc"]] = ["asc", "desc"]
    for order in orders:
        pages = client.responses.input_items.list(made, order=order, limit=1)
        assert len([item async for item in pages]) == 3


@pytest.mark.parametrize("item", ["msg_none", "resp_none", f"msg_{'0' * 44}", "x"])
async def test_reference_to_nothing(client: openai.AsyncOpenAI, item: str) -> None:
    """An item that is not there is told by its id, and no turn is accepted."""
    with pytest.raises(openai.NotFoundError) as refused:
        await create(client, user("x"), {"type": "item_reference", "id": item})
    assert (refused.value.code, refused.value.param) == ("item_not_found", "input")
    assert item in refused.value.message


async def test_many_references_to_something_large(client: openai.AsyncOpenAI) -> None:
    """A short request cannot become an input that is larger than a request may be."""
    conversation = await client.conversations.create(items=[user("x" * 2_000_000)])
    [large] = [item async for item in client.conversations.items.list(conversation.id)]
    await create(client, *[reference(large)] * 5)
    with pytest.raises(openai.APIStatusError) as refused:
        await create(client, *[reference(large)] * 50)
    assert (refused.value.status_code, refused.value.code) == (413, "items_too_large")


# Sent back


async def test_answer_with_annotations(client: openai.AsyncOpenAI, deployment: Deployment) -> None:
    """An earlier answer keeps the notes to its text and its phase, whoever gave it, and the model reads the text."""
    citation = {"type": "url_citation", "url": "https://a.example", "title": "A", "start_index": 0, "end_index": 2}
    file = {"type": "file_citation", "file_id": "file-1", "filename": "a.txt", "index": 0}
    part = {"type": "output_text", "text": "It is so.", "annotations": [citation, file], "logprobs": []}
    answer = {"type": "message", "id": "msg_theirs", "role": "assistant", "status": "completed", "content": [part]}
    made = await create(client, user("is it so?"), {**answer, "phase": "final_answer"}, user("are you sure?"))
    [_, kept, _] = [item async for item in client.responses.input_items.list(made, order="asc")]
    assert kept.id != "msg_theirs"
    assert {**kept.to_dict(), "id": "msg_theirs"} == {**answer, "phase": "final_answer"}
    roles = [message["role"] for message in await messages_of(deployment, "are you sure?")]
    assert roles == ["user", "assistant", "user"]


async def test_output_sent_back(client: openai.AsyncOpenAI, deployment: Deployment) -> None:
    """All that an output can hold is taken back as it came, with every field that the SDK adds."""
    script = {
        "reasoning": "Hm.",
        "text": "One moment.",
        "tool_calls": [{"name": "f", "arguments": {"a": 1}}, {"name": "note", "arguments": {"input": "b"}}],
    }
    await deployment.script("say it all", script)
    tools: Any = [{"type": "function", "name": "f"}, {"type": "custom", "name": "note"}]
    first = await client.responses.create(model="stand-in", input="say it all", tools=tools)
    assert [item.type for item in first.output] == ["reasoning", "message", "function_call", "custom_tool_call"]
    call, note = first.output[2:]
    assert call.type == "function_call"
    assert note.type == "custom_tool_call"
    made = await create(
        client,
        user("say it all"),
        *(item.model_dump() for item in first.output),
        {"type": "function_call_output", "call_id": call.call_id, "output": "of f"},
        {"type": "custom_tool_call_output", "call_id": note.call_id, "output": "of note"},
        user("now go on with it"),
        tools=tools,
    )
    listed = [item async for item in client.responses.input_items.list(made, order="asc")]
    sent = [item.model_dump(exclude={"id"}, exclude_none=True) for item in first.output]
    assert [item.model_dump(exclude={"id"}, exclude_none=True) for item in listed[1:5]] == sent
    assistant = (await messages_of(deployment, "now go on with it"))[1]
    assert assistant["content"] == "One moment."
    assert [called["function"]["name"] for called in assistant["tool_calls"]] == ["f", "note"]


async def test_roles(client: openai.AsyncOpenAI, deployment: Deployment) -> None:
    """A developer speaks as the system does, which is the role that every model knows."""
    roles = ("system", "developer", "user", "assistant", "user")
    await create(client, *({"role": role, "content": f"the {role} speaks"} for role in roles))
    seen = [message["role"] for message in await messages_of(deployment, "the user speaks")]
    assert seen == ["system", "system", "user", "assistant", "user"]


@pytest.mark.parametrize(
    "items",
    [
        [{"type": "function_call_output", "call_id": "c", "output": "x"}],
        [
            {"type": "function_call_output", "call_id": "c", "output": "x"},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        ],
        [
            {"type": "custom_tool_call", "call_id": "c", "name": "f", "input": ""},
            {"type": "function_call_output", "call_id": "c", "output": "x"},
        ],
    ],
    ids=["no call", "call behind", "other call"],
)
async def test_output_without_its_call(client: openai.AsyncOpenAI, items: list[Any]) -> None:
    """A tool's output that answers no call before it is refused by its place."""
    with pytest.raises(openai.BadRequestError) as refused:
        await create(client, *items)
    assert str(refused.value.param).endswith("].call_id")


async def test_output_without_its_call_in_the_past(client: openai.AsyncOpenAI) -> None:
    """Where the past may hold the call, the turn fails by the same words if it does not."""
    first = await client.responses.create(model="stand-in", input="no call here")
    output: Any = {"type": "function_call_output", "call_id": "call_none", "output": "x"}
    response = await client.responses.create(model="stand-in", input=[output], previous_response_id=first.id)
    assert response.status == "failed"
    assert response.error
    assert response.error.code == "invalid_prompt"
    assert "call_none" in response.error.message
