"""What a turn would read, through the openai SDK: its tokens counted, and its conversation summed up."""

from typing import Any

import openai
import pytest
from support.deployment import Deployment

SUMMARY = "They spoke of Ada."
INSTRUCTION = "Sum up the conversation above"  # the end of what a model is asked then


# Counting


async def test_count(client: openai.AsyncOpenAI) -> None:
    """The tokens of an input are counted as the response counts them, and nothing is kept."""
    asked: dict[str, Any] = {"model": "stand-in", "input": "count these five words", "instructions": "Be brief."}
    counted = await client.responses.input_tokens.count(**asked)
    assert counted.object == "response.input_tokens"
    response = await client.responses.create(**asked)
    assert response.usage
    assert counted.input_tokens == response.usage.input_tokens > 5


async def test_count_with_a_past(client: openai.AsyncOpenAI) -> None:
    """What came before is counted with it."""
    conversation = await client.conversations.create(items=[{"type": "message", "role": "user", "content": "a b c"}])
    first = await client.responses.create(model="stand-in", input="d e f", conversation=conversation.id)
    alone = await client.responses.input_tokens.count(model="stand-in", input="g h i")
    pasts: list[dict[str, Any]] = [{"conversation": conversation.id}, {"previous_response_id": first.id}]
    for past in pasts:
        counted = await client.responses.input_tokens.count(model="stand-in", input="g h i", **past)
        assert counted.input_tokens > alone.input_tokens + 6
    assert len([item async for item in client.conversations.items.list(conversation.id)]) == 3


async def test_count_tools(client: openai.AsyncOpenAI, deployment: Deployment) -> None:
    """Tools and formats reach the model that counts, since they are a part of what it reads."""
    tools: Any = [{"type": "function", "name": "f"}]
    await client.responses.input_tokens.count(
        model="stand-in",
        input="count with tools",
        tools=tools,
        text={"format": {"type": "json_object"}},
        reasoning={"effort": "low"},
        parallel_tool_calls=False,
        truncation="auto",
    )
    [request] = await deployment.model_requests("count with tools")
    assert [tool["function"]["name"] for tool in request["tools"]] == ["f"]
    assert request["response_format"] == {"type": "json_object"}
    assert request["max_tokens"] == 1


# Compacting


async def test_compact(client: openai.AsyncOpenAI, deployment: Deployment) -> None:
    """A conversation is summed up to items that stand for it, which only Turnstream reads."""
    await deployment.script(INSTRUCTION, {"text": SUMMARY})
    history: Any = [
        {"role": "user", "content": "My name is Ada."},
        {"role": "assistant", "content": "Hello Ada."},
        {"role": "user", "content": "I like numbers."},
    ]
    compacted = await client.responses.compact(model="stand-in", input=history)
    assert compacted.object == "response.compaction"
    assert compacted.usage.input_tokens > 0
    *kept, compaction = compacted.output
    assert [item.type for item in kept] == ["message", "message"]
    assert compaction.type == "compaction"
    assert SUMMARY not in str(compacted)
    sent_back: Any = [
        *(item.model_dump(warnings=False) for item in compacted.output),
        {"role": "user", "content": "behind it all"},
    ]
    response = await client.responses.create(model="stand-in", input=sent_back)
    assert response.status == "completed"
    [request] = await deployment.model_requests("behind it all")
    texts = [message["content"] for message in request["messages"]]
    assert SUMMARY in texts[-2]
    assert texts[-1] == "behind it all"
    assert "Hello Ada." not in texts


async def test_compact_a_past(client: openai.AsyncOpenAI, deployment: Deployment) -> None:
    """The chain behind a response is summed up by its id, and stays as it is."""
    await deployment.script(INSTRUCTION, {"text": SUMMARY})
    first = await client.responses.create(model="stand-in", input="My name is Ada, I say.")
    compacted = await client.responses.compact(model="stand-in", previous_response_id=first.id, instructions="Names!")
    assert compacted.output[-1].type == "compaction"
    asked = [
        request
        for request in await deployment.model_requests(INSTRUCTION)
        if any("My name is Ada, I say." in str(message["content"]) for message in request["messages"])
    ]
    assert asked[0]["messages"][0]["content"] == "Names!"
    assert await client.responses.retrieve(first.id) == first


# Refused


@pytest.mark.parametrize("what", ["count", "compact"])
async def test_what_is_refused(client: openai.AsyncOpenAI, what: str) -> None:
    """What is not there is not found, and what cannot be meant is refused, by the names that responses have for it."""
    call: Any = client.responses.input_tokens.count if what == "count" else client.responses.compact
    for missing in ({"previous_response_id": "resp_none"}, {"model": "no-such-model"}):
        with pytest.raises(openai.NotFoundError):
            await call(**{"model": "stand-in", "input": "x", **missing})
    wrongs: list[Any] = [{"input": []}, {"input": [{"role": "tool", "content": "x"}]}, {"extra_body": {"n": 2}}]
    for wrong in wrongs:
        with pytest.raises(openai.BadRequestError):
            await call(**{"model": "stand-in", "input": "x", **wrong})


@pytest.mark.parametrize("what", ["count", "compact"])
async def test_model_that_fails(client: openai.AsyncOpenAI, deployment: Deployment, what: str) -> None:
    """A model that fails is told in OpenAI's shape, with the provider's words where they are about the request."""
    call: Any = client.responses.input_tokens.count if what == "count" else client.responses.compact
    error = {"status": 400, "code": "context_length_exceeded", "message": "Your input is too long."}
    text = INSTRUCTION if what == "compact" else "count and fail"
    await deployment.script(text, {"error": error})
    with pytest.raises(openai.APIStatusError) as refused:
        await call(model="stand-in", input="count and fail")
    assert refused.value.code == "context_length_exceeded"
    assert "Your input is too long." in refused.value.message
    await deployment.script(text, {})
