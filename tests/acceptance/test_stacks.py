"""Workers on Llama Stack: embedded with each provider that run.yaml has, and as a server of its own."""

import os
import sys
from typing import Any

import httpx
import llama_stack_client
import openai
import pytest
from support.deployment import Deployment

from turnstream_local.child import Child, Program
from turnstream_local.layout import DataDirectory
from turnstream_local.ports import free_port
from turnstream_local.programs import default_run_yaml
from turnstream_local.readiness import answers_http


async def ask(url: str, model: str) -> str:
    """Return what a model says through Turnstream."""
    async with httpx.AsyncClient(base_url=url, timeout=30) as http:
        response = (await http.post("/v1/responses", json={"model": model, "input": "Hello."})).json()
    assert response["status"] == "completed", response
    text: str = response["output"][0]["content"][0]["text"]
    return text


async def ask_directly(url: str, model: str, embedding_model: str) -> None:
    """Make each of the calls that go straight to a model, and look at what it says."""
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        messages: Any = [{"role": "user", "content": "Hello."}]
        whole = await client.chat.completions.create(model=model, messages=messages)
        stream = await client.chat.completions.create(model=model, messages=messages, stream=True)
        deltas = [chunk.choices[0].delta.content or "" async for chunk in stream]
        assert "".join(deltas) == whole.choices[0].message.content
        text = await client.completions.create(model=model, prompt="Hello.")
        text_stream = await client.completions.create(model=model, prompt="Hello.", stream=True)
        assert "".join([chunk.choices[0].text async for chunk in text_stream]) == text.choices[0].text
        assert "Hello." in text.choices[0].text
        embedded = await client.embeddings.create(model=embedding_model, input=["one", "two"])
        assert [len(one.embedding) for one in embedded.data] == [384, 384]
        nobody: Any = [{"role": "nobody", "content": "Hello."}]
        with pytest.raises(openai.BadRequestError):
            await client.chat.completions.create(model=model, messages=nobody)


async def test_every_provider(fragile: Deployment) -> None:
    """Each of the environment's variables switches its provider on, and its models answer by their full names."""
    model = f"{fragile.model_url}/v1"
    await fragile.worker(
        embedded=True,
        OPENAI_API_KEY="none",
        OPENAI_BASE_URL=model,
        TOGETHER_API_KEY="none",  # boots; its adapter lists models at Together's own address, so none are listed here
        VLLM_URL=model,
        OLLAMA_URL=model,
    )
    url = (await fragile.gateway()).url
    async with httpx.AsyncClient(base_url=url, timeout=30) as http:
        models = {model["id"] for model in (await http.get("/v1/models")).json()["data"]}
    providers = ("openai", "vllm", "ollama")
    assert {f"{provider}/stand-in" for provider in providers} <= models
    for name in ("stand-in", *(f"{provider}/stand-in" for provider in providers)):
        assert "Hello." in await ask(url, name)
    for provider in providers:
        await ask_directly(url, f"{provider}/stand-in", f"{provider}/stand-in-embedding")


@pytest.fixture
async def llama_stack(fragile: Deployment) -> str:
    """Start a Llama Stack server on the run.yaml that we ship, and return its URL."""
    port = free_port()
    command = (sys.executable, "-m", "llama_stack.cli.llama", "stack", "run", str(default_run_yaml()))
    program = Program(
        "llama-stack",
        (*command, "--port", str(port)),
        {**os.environ, "STAND_IN_URL": f"{fragile.model_url}/v1"},
    )
    data = DataDirectory(fragile.infrastructure.folder)
    await fragile.start(Child(program, data, answers_http(port, "/v1/health")))
    return f"http://127.0.0.1:{port}"


async def test_server(fragile: Deployment, llama_stack: str) -> None:
    """With LLAMA_STACK_URL a worker lists and uses the models of that server."""
    await fragile.worker(LLAMA_STACK_URL=llama_stack)
    url = (await fragile.gateway()).url
    assert "Hello." in await ask(url, "stand-in/stand-in")
    async with httpx.AsyncClient(base_url=url, timeout=30) as http:
        model = (await http.get("/v1/models/stand-in/stand-in")).json()
    assert model["provider_id"] == "stand-in"
    assert model["model_type"] == "llm"
    await ask_directly(url, "stand-in/stand-in", "stand-in/stand-in-embedding")
    async with llama_stack_client.AsyncLlamaStackClient(base_url=url) as client:
        assert [provider.provider_id for provider in await client.providers.list()] == ["stand-in"]
