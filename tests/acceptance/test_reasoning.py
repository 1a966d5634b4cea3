"""What a model thinks, through the openai SDK: streamed, summed up, and kept by a client that nothing is stored for."""

from typing import Any

import openai
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from support.deployment import Deployment

THOUGHTS = "The user greets me. I greet back."
SUMMARY = "It is a greeting."
SEALED: Any = ["reasoning.encrypted_content"]


async def streamed(client: openai.AsyncOpenAI, text: str, **asked: Any) -> list[ResponseStreamEvent]:
    """Stream a response and return its events."""
    return [event async for event in await client.responses.create(model="stand-in", input=text, stream=True, **asked)]


def thoughts_of(response: Response) -> Any:
    """Return the reasoning item of a response, which says something after it."""
    assert [item.type for item in response.output] == ["reasoning", "message"]
    return response.output[0]


async def thoughts_seen(deployment: Deployment, text: str) -> list[str]:
    """Return the thoughts that went to the model with a text."""
    request = (await deployment.model_requests(text))[-1]
    return [message["reasoning_content"] for message in request["messages"] if "reasoning_content" in message]


async def test_events(client: openai.AsyncOpenAI, deployment: Deployment) -> None:
    """A model's thoughts are an item before its message, streamed in the events that the specification has for them."""
    await deployment.script("think aloud", {"reasoning": THOUGHTS, "text": "Hello."})
    events = await streamed(client, "think aloud")
    # The specification's name; the SDK has another, and decodes the event as it can.
    deltas = [event.model_dump() for event in events if str(event.type) == "response.reasoning.delta"]
    assert "".join(event["delta"] for event in deltas) == THOUGHTS
    assert len(deltas) > 1
    assert [event.type for event in events if not event.type.endswith("delta")] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.reasoning.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    last = events[-1]
    assert last.type == "response.completed"
    item = thoughts_of(last.response)
    assert [(part.type, part.text) for part in item.content] == [("reasoning_text", THOUGHTS)]
    assert (item.summary, item.encrypted_content, item.status) == ([], None, "completed")
    assert last.response.output_text == "Hello."
    assert last.response == await client.responses.retrieve(last.response.id)


@pytest.mark.parametrize("style", ["auto", "concise", "detailed"])
async def test_summary(client: openai.AsyncOpenAI, deployment: Deployment, style: Any) -> None:
    """The thoughts are summed up if that is asked for, in events of their own, and what it took is counted."""
    text = f"think and sum up, {style}"
    thoughts = f"{THOUGHTS} ({style})"
    usage = {"prompt_tokens": 100, "completion_tokens": 10}
    await deployment.script(text, {"reasoning": thoughts, "text": "Hello.", "usage": usage})
    await deployment.script(thoughts, {"text": SUMMARY, "usage": usage})
    events = await streamed(client, text, reasoning={"summary": style})
    kinds = [event.type for event in events if event.type.startswith("response.reasoning_summary")]
    assert [kind for kind in kinds if not kind.endswith("text.delta")] == [
        "response.reasoning_summary_part.added",
        "response.reasoning_summary_text.done",
        "response.reasoning_summary_part.done",
    ]
    said = "".join(event.delta for event in events if event.type == "response.reasoning_summary_text.delta")
    assert said == SUMMARY
    last = events[-1]
    assert last.type == "response.completed"
    item = thoughts_of(last.response)
    assert [(part.type, part.text) for part in item.summary] == [("summary_text", SUMMARY)]
    assert item.content[0].text == thoughts
    assert last.response.reasoning
    assert last.response.reasoning.summary == style
    assert last.response.usage
    assert (last.response.usage.input_tokens, last.response.usage.output_tokens) == (200, 20)


async def test_effort(client: openai.AsyncOpenAI, deployment: Deployment) -> None:
    """How much the model is to think reaches it, and nothing is summed up that nobody asked for."""
    await deployment.script("think hard", {"reasoning": THOUGHTS, "text": "Hello."})
    response = await client.responses.create(model="stand-in", input="think hard", reasoning={"effort": "high"})
    [request] = await deployment.model_requests("think hard")
    assert request["reasoning_effort"] == "high"
    assert thoughts_of(response).summary == []


async def test_stateless(client: openai.AsyncOpenAI, deployment: Deployment) -> None:
    """A client for which nothing is stored keeps the thoughts sealed, and the model gets them back from it."""
    await deployment.script("call it once", {"reasoning": THOUGHTS, "tool_calls": [{"name": "f"}]}, {})
    tools: Any = [{"type": "function", "name": "f"}]
    asked = await client.responses.create(
        model="stand-in", input="call it once", tools=tools, store=False, include=SEALED
    )
    thought, call = asked.output
    assert thought.type == "reasoning"
    assert call.type == "function_call"
    assert thought.encrypted_content
    assert THOUGHTS not in thought.encrypted_content
    # A client that must not keep the thoughts themselves keeps what is sealed.
    kept = {**thought.model_dump(), "content": None}
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "done"}
    history: Any = [{"role": "user", "content": "call it once"}, kept, call.model_dump(), output]
    answer = await client.responses.create(model="stand-in", input=history, tools=tools, store=False, include=SEALED)
    assert "done" in answer.output_text
    assert await thoughts_seen(deployment, "call it once") == [THOUGHTS]
    messages = (await deployment.model_requests("call it once"))[-1]["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "tool"]


async def test_not_sealed(client: openai.AsyncOpenAI, deployment: Deployment) -> None:
    """Nothing is sealed that nobody asks for, and what another has sealed is passed over."""
    await deployment.script("think openly", {"reasoning": THOUGHTS, "text": "Hello."})
    response = await client.responses.create(model="stand-in", input="think openly")
    assert thoughts_of(response).encrypted_content is None
    foreign: Any = [
        {"role": "user", "content": "sealed elsewhere"},
        {"type": "reasoning", "summary": [], "encrypted_content": "gAAAAA-of-another-server"},
    ]
    answer = await client.responses.create(model="stand-in", input=foreign)
    assert answer.status == "completed"
    assert await thoughts_seen(deployment, "sealed elsewhere") == []


async def test_thoughts_of_earlier_questions(client: openai.AsyncOpenAI, deployment: Deployment) -> None:
    """What the model thought of an earlier question does not go to it again, by no way of remembering."""
    await deployment.script("a first question", {"reasoning": THOUGHTS, "text": "Hello."})
    conversation = await client.conversations.create()
    first = await client.responses.create(
        model="stand-in", input="a first question", conversation=conversation.id, include=SEALED
    )
    sent_back: Any = [item.model_dump() for item in first.output]
    ways: list[dict[str, Any]] = [
        {"input": "and by id?", "previous_response_id": first.id},
        {"input": "and by conversation?", "conversation": conversation.id},
        {"input": [*sent_back, {"role": "user", "content": "and by hand?"}]},
    ]
    for way, text in zip(ways, ("and by id?", "and by conversation?", "and by hand?"), strict=True):
        response = await client.responses.create(model="stand-in", **way)
        assert response.status == "completed"
        assert await thoughts_seen(deployment, text) == []


async def test_cut_off_while_thinking(client: openai.AsyncOpenAI, deployment: Deployment) -> None:
    """A model that is cut off while it thinks leaves an incomplete item of reasoning."""
    await deployment.script("think too long", {"reasoning": THOUGHTS, "text": "", "finish_reason": "length"})
    response = await client.responses.create(model="stand-in", input="think too long", include=SEALED)
    assert response.status == "incomplete"
    [item] = response.output
    assert item.type == "reasoning"
    assert item.status == "incomplete"
    assert item.content
    assert item.content[0].text == THOUGHTS
