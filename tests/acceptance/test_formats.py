"""What an answer is made of through the openai SDK: text, parsed JSON, refusals and the probabilities of its tokens."""

from typing import Any

import openai
import pytest
from pydantic import BaseModel
from support.deployment import Deployment

SOME_LOGPROBS = [-0.5, -1.5]


class City(BaseModel):
    """Something to be parsed."""

    name: str
    inhabitants: int
    districts: list[str]


async def test_parse(client: openai.AsyncOpenAI, deployment: Deployment) -> None:
    """An answer in the form of a pydantic model comes back as that model."""
    response = await client.responses.parse(model="stand-in", input="parse Paris 2100000", text_format=City)
    assert response.output_parsed == City(
        name="parse Paris 2100000", inhabitants=2100000, districts=["parse Paris 2100000"]
    )
    [request] = await deployment.model_requests("parse Paris 2100000")
    wanted = request["response_format"]
    assert wanted["type"] == "json_schema"
    assert (wanted["json_schema"]["name"], wanted["json_schema"]["strict"]) == ("City", True)
    assert set(wanted["json_schema"]["schema"]["required"]) == set(City.model_fields)


async def test_parse_streamed(client: openai.AsyncOpenAI) -> None:
    """The stream helper parses what it has accumulated."""
    async with client.responses.stream(model="stand-in", input="parse Rome 3", text_format=City) as stream:
        done = [event async for event in stream if event.type == "response.output_text.done"]
        final = await stream.get_final_response()
    assert final.output_parsed == done[0].parsed == City(name="parse Rome 3", inhabitants=3, districts=["parse Rome 3"])


async def test_json_object(client: openai.AsyncOpenAI) -> None:
    """An answer may be asked for as some JSON object."""
    response = await client.responses.create(
        model="stand-in", input="an object", text={"format": {"type": "json_object"}}
    )
    assert response.output_text == '{"answer": "an object"}'
    assert response.text
    assert response.text.format
    assert response.text.format.type == "json_object"


async def test_refusal(client: openai.AsyncOpenAI, deployment: Deployment) -> None:
    """A refusal is a part of its own: streamed as such, no text, and nothing that could be parsed."""
    await deployment.script("refuse this", {"refusal": "I will not do it."})
    stream = await client.responses.create(model="stand-in", input="refuse this", stream=True)
    events = [event async for event in stream]
    kinds = [event.type for event in events if event.type != "response.refusal.delta"]
    assert kinds == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.refusal.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    said = "".join(event.delta for event in events if event.type == "response.refusal.delta")
    assert said == "I will not do it."
    last = events[-1]
    assert last.type == "response.completed"
    [message] = last.response.output
    assert message.type == "message"
    assert [part.to_dict() for part in message.content] == [{"type": "refusal", "refusal": said}]
    assert last.response.output_text == ""
    parsed = await client.responses.parse(model="stand-in", input="refuse this", text_format=City)
    assert parsed.output_parsed is None


async def test_refused_and_followed(client: openai.AsyncOpenAI, deployment: Deployment) -> None:
    """The model is told of its own refusal when the conversation goes on."""
    await deployment.script("refuse that", {"text": "Well,", "refusal": "I will not."})
    first = await client.responses.create(model="stand-in", input="refuse that")
    await client.responses.create(model="stand-in", input="and after the refusal?", previous_response_id=first.id)
    [request] = await deployment.model_requests("and after the refusal?")
    [answer] = [message for message in request["messages"] if message["role"] == "assistant"]
    assert "I will not." in answer["content"]
    assert "Well," in answer["content"]


@pytest.mark.parametrize(
    "asked",
    [
        {"include": ["message.output_text.logprobs"]},
        {"top_logprobs": 2},
        {"include": ["message.output_text.logprobs"], "top_logprobs": 20},
    ],
)
async def test_logprobs(client: openai.AsyncOpenAI, deployment: Deployment, asked: dict[str, Any]) -> None:
    """The probabilities of the tokens come with each delta and with the whole part, with as many others as asked."""
    await deployment.script("how likely", {"text": "Quite so.", "logprobs": SOME_LOGPROBS})
    stream = await client.responses.create(model="stand-in", input="how likely", stream=True, **asked)
    events = [event async for event in stream]
    deltas = [event for event in events if event.type == "response.output_text.delta"]
    assert [(found.token, found.logprob) for event in deltas for found in event.logprobs] == [
        ("Quite", -0.5),
        (" so.", -1.5),
    ]
    [done] = [event for event in events if event.type == "response.output_text.done"]
    assert [found.token for found in done.logprobs] == ["Quite", " so."]
    last = events[-1]
    assert last.type == "response.completed"
    [message] = last.response.output
    assert message.type == "message"
    [part] = message.content
    assert part.type == "output_text"
    assert part.logprobs
    for found in part.logprobs:
        assert bytes(found.bytes).decode() == found.token
        assert len(found.top_logprobs) == asked.get("top_logprobs", 0)
    assert last.response.top_logprobs == asked.get("top_logprobs", 0)


async def test_no_logprobs(client: openai.AsyncOpenAI, deployment: Deployment) -> None:
    """Where nobody asks for probabilities there are none, but for the empty list that the specification requires."""
    response = await client.responses.create(model="stand-in", input="how sure", top_logprobs=0)
    assert response.model_dump()["output"][0]["content"][0]["logprobs"] == []
    [request] = await deployment.model_requests("how sure")
    assert "logprobs" not in request


async def test_content_filter(client: openai.AsyncOpenAI, deployment: Deployment) -> None:
    """An answer that the provider's filter broke off is incomplete, and says why."""
    await deployment.script("filter this", {"text": "Some of", "finish_reason": "content_filter"})
    response = await client.responses.create(model="stand-in", input="filter this")
    assert response.status == "incomplete"
    assert response.incomplete_details
    assert response.incomplete_details.reason == "content_filter"
    assert response.output_text == "Some of"
