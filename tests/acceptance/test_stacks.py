"""Workers on Llama Stack: embedded with each provider that run.yaml has, and as a server of its own."""

import os
import sys

import httpx
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
