"""Turnstream with workers whose models are served by real inference servers."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from support.deployment import deployed
from support.inference_server import InferenceServer
from support.infrastructure import embedded
from support.reader import NOTHING, Transcript, start, tally
from support.tiny_model import CONTEXT, write_tiny_model
from turnstream_local.programs import default_run_yaml

PATIENCE = 5  # seconds that the worker lets a model be silent
SMALL = 1024  # tokens of context
LLAMA_CPP = "remote::llama-cpp-server"
# A setting that only Llama Stack's own adapter can follow, so that the worker calls the provider through it.
BY_ADAPTER: dict[str, Any] = {"network": {"timeout": PATIENCE}}
# The kinds of providers that such a server may stand behind.
PROVIDERS: dict[str, tuple[str, dict[str, Any]]] = {
    "openai": ("remote::openai", {"api_key": "none"}),
    "vllm": ("remote::vllm", {}),
    "llama-cpp": (LLAMA_CPP, {}),
    "adapter": (LLAMA_CPP, BY_ADAPTER),
}


@dataclass(frozen=True)
class InferenceDeployment:
    """Turnstream, and the servers behind the providers of its models."""

    url: str  # the gateway's
    small: InferenceServer  # little context; stands behind all PROVIDERS
    endless: InferenceServer  # answers for seconds, until its context is full
    thinking: InferenceServer  # the same, beginning with a thought
    crowded: InferenceServer  # the same, with one context for all answers that run at a time

    async def turn(self, model: str = "llama-cpp/tiny", **body: Any) -> Transcript:
        """Stream a turn to its end."""
        transcript = Transcript()
        async for _ in start(self.url, transcript, model=model, **body):
            pass
        assert tally([transcript]) == NOTHING
        return transcript


@asynccontextmanager
async def on_inference_servers() -> AsyncIterator[InferenceDeployment]:
    """Run a worker on an embedded Llama Stack, and its inference servers, each a provider by its name."""
    async with embedded() as infrastructure, deployed(infrastructure) as deployment, AsyncExitStack() as servers:
        folder = infrastructure.folder
        model = folder / "tiny.gguf"
        write_tiny_model(model)
        small = InferenceServer("small", model, folder, context=SMALL)
        endless = InferenceServer("endless", model, folder, context=CONTEXT, options=("--endless",))
        thinking = InferenceServer("thinking", model, folder, context=SMALL, options=("--endless", "--thinking"))
        crowded = InferenceServer("crowded", model, folder, context=SMALL, options=("--endless", "--shared"))
        for server in (small, endless, thinking, crowded):
            servers.push_async_callback(server.kill)
            await server.start()
        run_yaml = _write_run_yaml(
            folder,
            *(_provider(name, small, *said) for name, said in PROVIDERS.items()),
            *(_provider(server.name, server, LLAMA_CPP, {}) for server in (endless, thinking, crowded)),
            _provider("endless-adapter", endless, LLAMA_CPP, BY_ADAPTER),
        )
        await deployment.worker(
            embedded=True, TURNSTREAM_RUN_YAML=str(run_yaml), TURNSTREAM_MODEL_TIMEOUT=str(PATIENCE)
        )
        gateway = await deployment.gateway()
        yield InferenceDeployment(gateway.url, small, endless, thinking, crowded)


def _write_run_yaml(folder: Path, *providers: dict[str, Any]) -> Path:
    """Write the run.yaml that we ship, with other providers."""
    stack = yaml.safe_load(default_run_yaml().read_text())
    stack["providers"]["inference"] = list(providers)
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(stack))
    return path


def _provider(name: str, server: InferenceServer, kind: str, config: dict[str, Any]) -> dict[str, Any]:
    return {"provider_id": name, "provider_type": kind, "config": {"base_url": f"{server.url}/v1", **config}}
