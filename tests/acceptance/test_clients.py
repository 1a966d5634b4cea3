"""The published clients, unchanged, against a running Turnstream."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest
from support.deployment import Deployment, Gateway
from support.reader import NOTHING, Transcript, start, tally
from support.scripts import INTERPRETERS, run_script

WEATHER: dict[str, Any] = {
    "type": "function",
    "name": "weather",
    "description": "Tells the weather of a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Paris"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}


@pytest.fixture(scope="session")
async def client(gateway: Gateway) -> AsyncIterator[openai.AsyncOpenAI]:
    """The openai SDK, pointed at Turnstream."""
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as sdk:
        yield sdk


@pytest.mark.parametrize("version", INTERPRETERS)
async def test_llama_stack_agent(gateway: Gateway, version: str) -> None:
    """llama-stack-client's Agent keeps a session, remembers, runs its own tool and prints what it should."""
    seen = await run_script("agent_session.py", version, gateway.url)
    assert seen["version"] == version
    assert "stand-in" in seen["models"]
    first, second = seen["printed"]
    assert 'You said: "My name is Ada."' in first
    assert 'I have seen 2 user messages; the first was: "My name is Ada."' in second
    assert seen["conversation"] == {"name": "a session"}
    assert seen["roles"] == ["user", "assistant", "user", "assistant"]
    assert seen["calls"] == [[2, 3], [4, 5]]
    assert "Executing function tools (client-side)" in seen["printed_with_tool"]
    assert "The tool answered: 5" in seen["printed_with_tool"]
    assert "The tool answered: 9" in seen["whole"]


async def test_openai_whole(client: openai.AsyncOpenAI) -> None:
    """A response that is not streamed comes whole, with its usage, and can be retrieved."""
    response = await client.responses.create(model="stand-in", input="Hello there.", metadata={"for": "a test"})
    assert response.status == "completed"
    assert "Hello there." in response.output_text
    assert response.usage
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens
    assert await client.responses.retrieve(response.id) == response


async def test_openai_streamed(client: openai.AsyncOpenAI) -> None:
    """The SDK's stream helper accumulates the events to the response that is stored."""
    async with client.responses.stream(model="stand-in", input="Hello there.") as stream:
        deltas = [event.delta async for event in stream if event.type == "response.output_text.delta"]
        final = await stream.get_final_response()
    assert len(deltas) > 1
    assert "".join(deltas) == final.output_text == (await client.responses.retrieve(final.id)).output_text


async def test_openai_memory_by_previous_response(client: openai.AsyncOpenAI) -> None:
    """previous_response_id remembers all turns before, and a response can be followed more than once."""
    first = await client.responses.create(model="stand-in", input="My name is Ada.")
    for text in ("What is my name?", "And who am I?"):
        second = await client.responses.create(model="stand-in", input=text, previous_response_id=first.id)
        assert 'I have seen 2 user messages; the first was: "My name is Ada."' in second.output_text
    third = await client.responses.create(model="stand-in", input="Go on.", previous_response_id=second.id)
    assert "I have seen 3 user messages" in third.output_text
    assert third.previous_response_id == second.id


async def test_openai_conversation(client: openai.AsyncOpenAI) -> None:
    """A conversation collects the items of its turns, and is gone when it is deleted."""
    conversation = await client.conversations.create(metadata={"name": "a session"})
    for text in ("One.", "Two."):
        await client.responses.create(model="stand-in", input=text, conversation=conversation.id)
    items = [item async for item in client.conversations.items.list(conversation.id, order="asc", limit=1)]
    assert [item.role for item in items if item.type == "message"] == ["user", "assistant", "user", "assistant"]
    assert (await client.conversations.retrieve(conversation.id)).metadata == {"name": "a session"}
    assert (await client.conversations.delete(conversation.id)).deleted
    with pytest.raises(openai.NotFoundError):
        await client.conversations.retrieve(conversation.id)
    with pytest.raises(openai.NotFoundError):
        await client.responses.create(model="stand-in", input="Three.", conversation=conversation.id)


async def test_openai_conversation_items(client: openai.AsyncOpenAI) -> None:
    """Items can be put into a conversation, at its start and later, read one by one, and taken out; turns see them."""
    conversation = await client.conversations.create(
        items=[{"type": "message", "role": "user", "content": "My name is Ada."}], metadata={"a": "1"}
    )
    updated = await client.conversations.update(conversation.id, metadata={"b": "2"})
    assert updated.metadata == {"b": "2"}
    added = await client.conversations.items.create(
        conversation.id,
        items=[
            {"type": "message", "role": "assistant", "content": "Hello Ada."},
            {"type": "message", "role": "user", "content": "Forget this."},
        ],
    )
    last = added.data[-1]
    assert last.id
    assert await client.conversations.items.retrieve(last.id, conversation_id=conversation.id) == last
    await client.conversations.items.delete(last.id, conversation_id=conversation.id)
    with pytest.raises(openai.NotFoundError):
        await client.conversations.items.retrieve(last.id, conversation_id=conversation.id)
    response = await client.responses.create(model="stand-in", input="What is my name?", conversation=conversation.id)
    assert 'I have seen 2 user messages; the first was: "My name is Ada."' in response.output_text


async def test_openai_input_items(client: openai.AsyncOpenAI) -> None:
    """The input of a response can be read back, a page at a time, in either order."""
    texts = ["one", "two", "three"]
    response = await client.responses.create(
        model="stand-in", input=[{"role": "user", "content": text} for text in texts]
    )
    for order, expected in (("asc", texts), ("desc", texts[::-1])):
        pages = client.responses.input_items.list(response.id, order=order, limit=2)  # type: ignore[arg-type]  # a str
        items = [item async for item in pages]
        assert [item.to_dict()["content"] for item in items] == [
            [{"type": "input_text", "text": text}] for text in expected
        ]


async def test_openai_list_and_delete(client: openai.AsyncOpenAI, gateway: Gateway) -> None:
    """Responses are listed in order, between two ids and by model, until they are deleted."""
    made = [(await client.responses.create(model="stand-in", input=f"number {n}")).id for n in range(3)]
    async with httpx.AsyncClient(base_url=gateway.url) as http:
        newest = (await http.get("/v1/responses", params={"limit": 2})).json()
        assert [response["id"] for response in newest["data"]] == made[:0:-1]
        assert newest["has_more"] is True
        between = {"after": made[0], "order": "asc", "model": "stand-in", "before": made[2]}
        assert [r["id"] for r in (await http.get("/v1/responses", params=between)).json()["data"]] == [made[1]]
        assert (await http.get("/v1/responses", params={"model": "no-such-model-at-all"})).json()["data"] == []
        await client.responses.delete(made[1])
        assert (await http.get("/v1/responses", params=between)).json()["data"] == []
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(made[1])


async def test_openai_function_round_trip(client: openai.AsyncOpenAI) -> None:
    """A function call comes as an item, and its output, sent back, reaches the model with the call."""
    asked = await client.responses.create(model="stand-in", input="The weather in Paris?", tools=[WEATHER])  # type: ignore[list-item]  # a dict for a typed dict
    [call] = asked.output
    assert call.type == "function_call"
    assert json.loads(call.arguments) == {"city": "Paris"}
    answered = await client.responses.create(
        model="stand-in",
        previous_response_id=asked.id,
        input=[{"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}],
    )
    assert "sunny" in answered.output_text


async def test_openai_manual_history(client: openai.AsyncOpenAI) -> None:
    """The output of one response can be given as input to the next, as it came."""
    first = await client.responses.create(model="stand-in", input="My name is Ada.")
    history: list[Any] = [
        {"role": "user", "content": "My name is Ada."},
        *(item.model_dump() for item in first.output),
        {"role": "user", "content": "What is my name?"},
    ]
    second = await client.responses.create(model="stand-in", input=history)
    assert 'I have seen 2 user messages; the first was: "My name is Ada."' in second.output_text


async def test_openai_resume(client: openai.AsyncOpenAI) -> None:
    """starting_after gives the events behind a number, of a turn that is over as well."""
    whole = [event async for event in await client.responses.create(model="stand-in", input="Hello.", stream=True)]
    assert whole[0].type == "response.created"
    rest = await client.responses.retrieve(whole[0].response.id, stream=True, starting_after=whole[4].sequence_number)
    assert [event async for event in rest] == whole[5:]


async def test_httpx_stream(gateway: Gateway) -> None:
    """Read by hand, the events come numbered, typed twice over, in the specification's order and without ids."""
    transcript = Transcript()
    async for _ in start(gateway.url, transcript, input="Hello."):
        pass
    assert tally([transcript]) == NOTHING
    kinds = [kind for kind in transcript.kinds() if kind != "response.output_text.delta"]
    assert kinds == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    async with httpx.AsyncClient(base_url=gateway.url) as http:
        raw = (await http.get(f"/v1/responses/{transcript.id}", params={"stream": True})).text
    for frame in raw.strip().split("\n\n"):
        event, data = frame.split("\n")
        assert event == f"event: {json.loads(data.removeprefix('data: '))['type']}"


async def test_openai_background(client: openai.AsyncOpenAI) -> None:
    """A response in the background is answered at once, and can be polled until it has ended."""
    response = await client.responses.create(
        model="stand-in", input="[stand-in tokens=20 delay_ms=10] go on", background=True
    )
    assert response.status in {"queued", "in_progress"}
    assert response.background
    async with asyncio.timeout(30):
        while response.status in {"queued", "in_progress"}:
            response = await client.responses.retrieve(response.id)
    assert response.status == "completed"
    assert len(response.output_text.split()) == 20


async def test_parameters_reach_the_model(client: openai.AsyncOpenAI, deployment: Deployment) -> None:
    """What a client asks of the model's sampling is passed on, and shown in the response."""
    asked: dict[str, Any] = {"temperature": 0.5, "top_p": 0.25, "user": "u", "prompt_cache_key": "k"}
    penalties = {"presence_penalty": 1.5, "frequency_penalty": -0.5}
    response = await client.responses.create(
        model="stand-in", input="pass this on", max_output_tokens=99, extra_body=penalties, **asked
    )
    [request] = await deployment.model_requests("pass this on")
    assert {**asked, **penalties, "max_tokens": 99}.items() <= request.items()
    assert {**asked, **penalties, "max_output_tokens": 99}.items() <= response.to_dict().items()


async def test_event_source(gateway: Gateway) -> None:
    """A browser's EventSource gets ids, goes on behind the last one, and is told when there is nothing more."""
    transcript = Transcript()
    async for _ in start(gateway.url, transcript, input="Hello."):
        pass
    path = f"/v1/turns/{transcript.id}/events"
    async with httpx.AsyncClient(base_url=gateway.url) as http:
        whole = (await http.get(path)).text
        frames = whole.strip().split("\n\n")
        assert [frame.split("\n")[0] for frame in frames] == [f"id: {n}" for n in range(len(transcript.events))]
        assert (await http.get(path, headers={"last-event-id": "3"})).text == "\n\n".join(frames[4:]) + "\n\n"
        ended = await http.get(path, headers={"last-event-id": str(transcript.last)})
        assert ended.status_code == httpx.codes.NO_CONTENT


async def test_cors(deployment: Deployment) -> None:
    """Only the pages that the operator names may call the API from a browser."""
    gateway = await deployment.gateway(TURNSTREAM_CORS_ORIGINS='["https://app.example"]')
    async with httpx.AsyncClient(base_url=gateway.url) as http:
        for origin, allowed in (("https://app.example", "https://app.example"), ("https://other.example", None)):
            answer = await http.get("/v1/version", headers={"origin": origin})
            assert answer.headers.get("access-control-allow-origin") == allowed


async def test_keepalive(deployment: Deployment) -> None:
    """While a model thinks, a stream carries comments, which every client's decoder passes over."""
    gateway = await deployment.gateway(TURNSTREAM_KEEPALIVE="0.05")
    await deployment.script("think first", {"text": "thought", "first_delay_ms": 400})
    async with httpx.AsyncClient(base_url=gateway.url) as http:
        body = {"model": "stand-in", "input": "think first", "stream": True}
        raw = (await http.post("/v1/responses", json=body)).text
    assert raw.count(": keepalive\n\n") > 1
    assert raw.startswith("event: response.created\n")
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="none") as sdk:
        response = await asyncio.to_thread(_streamed_text, sdk)
    assert response == "thought"


def _streamed_text(sdk: openai.OpenAI) -> str:
    with sdk.responses.stream(model="stand-in", input="think first") as stream:
        return stream.get_final_response().output_text
