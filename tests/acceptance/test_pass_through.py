"""Calls straight to a model, made by the published clients."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest
from support.deployment import Deployment, Gateway
from support.scripts import INTERPRETERS, run_script

ADD: Any = {
    "type": "function",
    "function": {
        "name": "add",
        "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
    },
}


@pytest.fixture(scope="session")
async def client(gateway: Gateway) -> AsyncIterator[openai.AsyncOpenAI]:
    """The openai SDK, pointed at Turnstream."""
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as sdk:
        yield sdk


def ask(text: str) -> Any:
    """Make the part of a chat request that all have."""
    return {"model": "stand-in", "messages": [{"role": "user", "content": text}]}


async def test_chat_whole(client: openai.AsyncOpenAI) -> None:
    """A chat completion comes whole, with its usage, as the provider made it."""
    made = await client.chat.completions.create(**ask("Hello there."), temperature=0, user="me")
    assert '"Hello there."' in (made.choices[0].message.content or "")
    assert made.choices[0].finish_reason == "stop"
    assert made.system_fingerprint == "stand-in"
    assert made.usage
    assert made.usage.total_tokens == made.usage.prompt_tokens + made.usage.completion_tokens


async def test_chat_streamed(client: openai.AsyncOpenAI) -> None:
    """A streamed one comes chunk by chunk, with its usage where that is asked for."""
    stream = await client.chat.completions.create(
        **ask("[stand-in tokens=12] Go on."), stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert len([chunk for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]) == 12
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage
    assert chunks[-1].usage.completion_tokens == 12


async def test_chat_stream_on_the_wire(gateway: Gateway) -> None:
    """A stream is one of server-sent events, and ends with [DONE] as OpenAI's does."""
    async with httpx.AsyncClient(base_url=gateway.url) as http:
        answer = await http.post("/v1/chat/completions", json={**ask("Hello."), "stream": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text.endswith("\n\ndata: [DONE]\n\n")
    assert answer.text.count("[DONE]") == 1


async def test_llama_stack_streams_do_not_say_done(gateway: Gateway) -> None:
    """llama-stack-client, which says that it is that, is sent no [DONE]: up to 0.6 it fails on it."""
    async with httpx.AsyncClient(base_url=gateway.url, headers={"x-llamastack-client-version": "0.6.0"}) as http:
        answer = await http.post("/v1/chat/completions", json={**ask("Hello."), "stream": True})
    assert "DONE" not in answer.text
    assert json.loads(answer.text.rstrip().rpartition("\n\ndata: ")[2])["choices"][0]["finish_reason"] == "stop"


async def test_chunk_by_chunk(client: openai.AsyncOpenAI, deployment: Deployment) -> None:
    """The first chunk is there before the model has gone on to the next."""
    await deployment.script("stops in the middle", {"chunks": ["one "], "hang": True})
    stream = await client.chat.completions.create(**ask("stops in the middle"), stream=True)
    async for chunk in stream:
        if chunk.choices[0].delta.content == "one ":
            break
    await stream.close()


@pytest.mark.parametrize("streamed", [False, True])
async def test_tools(client: openai.AsyncOpenAI, streamed: bool) -> None:
    """A tool is called, and its answer taken, as the SDK has it."""
    if streamed:
        async with client.chat.completions.stream(**ask("add 5"), tools=[ADD]) as stream:
            made: Any = await stream.get_final_completion()
    else:
        made = await client.chat.completions.create(**ask("add 5"), tools=[ADD])
    [call] = made.choices[0].message.tool_calls
    assert made.choices[0].finish_reason == "tool_calls"
    assert (call.function.name, json.loads(call.function.arguments)) == ("add", {"a": 5})
    messages: Any = [
        *ask("add 5")["messages"],
        made.choices[0].message.to_dict(),
        {"role": "tool", "tool_call_id": call.id, "content": "10"},
    ]
    after = await client.chat.completions.create(model="stand-in", messages=messages, tools=[ADD])
    assert "The tool answered: 10" in (after.choices[0].message.content or "")


async def test_what_is_not_known_is_passed_on(client: openai.AsyncOpenAI, deployment: Deployment) -> None:
    """The provider gets the request as it was made, but for the model's name, which is its own."""
    extra = {"top_k": 7, "chat_template_kwargs": {"enable_thinking": False}}
    await client.chat.completions.create(
        model="stand-in/stand-in", messages=[{"role": "user", "content": "passed on"}], extra_body=extra
    )
    assert await deployment.model_requests("passed on") == [
        {"model": "stand-in", "messages": [{"role": "user", "content": "passed on"}], **extra}
    ]


async def test_completions(client: openai.AsyncOpenAI) -> None:
    """A text is completed, whole and streamed."""
    made = await client.completions.create(model="stand-in", prompt="Hello there.")
    assert '"Hello there."' in made.choices[0].text
    stream = await client.completions.create(model="stand-in", prompt="Hello there.", stream=True)
    texts = [chunk.choices[0].text async for chunk in stream if chunk.choices]
    assert len(texts) > 3
    assert "".join(texts) == made.choices[0].text


async def test_embeddings(client: openai.AsyncOpenAI) -> None:
    """Vectors come as the SDK asks for them, in base64, the same as in plain numbers, of the size that is asked for."""
    texts = ["the cat sat", "on the mat"]
    encoded = await client.embeddings.create(model="stand-in-embedding", input=texts)
    plain = await client.embeddings.create(model="stand-in-embedding", input=texts, encoding_format="float")
    assert [len(one.embedding) for one in encoded.data] == [384, 384]
    for one, other in zip(encoded.data, plain.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, abs=1e-6)
    assert encoded.usage.prompt_tokens == 6
    short = await client.embeddings.create(model="stand-in-embedding", input="the cat sat", dimensions=8)
    assert len(short.data[0].embedding) == 8


async def test_many_embeddings(client: openai.AsyncOpenAI) -> None:
    """An answer may be larger than anything else that travels between our processes."""
    made = await client.embeddings.create(
        model="stand-in-embedding", input=["one"] * 200, dimensions=4096, encoding_format="float"
    )
    assert [len(one.embedding) for one in made.data] == [4096] * 200


@pytest.mark.parametrize("version", INTERPRETERS)
async def test_llama_stack_client(gateway: Gateway, version: str) -> None:
    """llama-stack-client makes the same calls, and is told what providers and routes there are."""
    seen = await run_script("direct_calls.py", version, gateway.url)
    assert seen["version"] == version
    assert '"Hello there."' in seen["whole"]
    assert seen["whole"] == seen["streamed"] == seen["text"]
    assert seen["dimensions"] == [384, 384]
    [provider] = seen["providers"]
    assert provider == seen["provider"]
    assert (provider["api"], provider["provider_id"], provider["provider_type"]) == (
        "inference",
        "stand-in",
        "remote::openai",
    )
    assert {"POST /v1/chat/completions", "GET /v1/providers/{provider_id}", "GET /v1/inspect/routes"} <= set(
        seen["routes"]
    )
    assert seen["health"] == "OK"
    assert seen["server"]


async def test_providers_keep_their_secrets(fragile: Deployment) -> None:
    """Of a provider's configuration nothing is shown that is a secret, in an address neither."""
    address = fragile.model_url.removeprefix("http://")
    await fragile.worker(
        embedded=True, OPENAI_API_KEY="sk-hidden", OPENAI_BASE_URL=f"http://hidden:hidden@{address}/v1?key=hidden"
    )
    async with httpx.AsyncClient(base_url=(await fragile.gateway()).url) as http:
        answer = await http.get("/v1/providers")
        missing = await http.get("/v1/providers/no-such-provider")
    [config] = [one["config"] for one in answer.json()["data"] if one["provider_id"] == "openai"]
    assert config == {
        "base_url": f"http://{address}/v1",
    }
    assert "hidden" not in answer.text
    assert missing.status_code == httpx.codes.NOT_FOUND
    assert missing.json()["error"]["code"] == "provider_not_found"


async def test_routes_by_level(gateway: Gateway) -> None:
    """Routes can be listed by the level of their API."""
    async with httpx.AsyncClient(base_url=gateway.url) as http:
        everything, first, alpha = [
            (await http.get("/v1/inspect/routes", params=params)).json()["data"]
            for params in ({}, {"api_filter": "v1"}, {"api_filter": "v1alpha"})
        ]
    assert everything == first
    assert alpha == []
    assert {"route": "/v1/embeddings", "method": "POST", "provider_types": []} in first
