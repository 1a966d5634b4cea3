"""Turnstream's own processes on an infrastructure, each to be started and broken by a test."""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from support.infrastructure import Infrastructure
from turnstream.secrets import new_key
from turnstream_local.child import Child, Program
from turnstream_local.layout import DataDirectory
from turnstream_local.ports import free_port
from turnstream_local.programs import default_run_yaml
from turnstream_local.readiness import answers_http

# Signs of life that fit the infrastructure's short ack_wait.
QUICK = {"TURNSTREAM_LEASE": "2", "TURNSTREAM_HEARTBEAT": "0.5", "TURNSTREAM_GRACE": "5"}


class Gateway:
    """A gateway's process and its address."""

    def __init__(self, child: Child, url: str) -> None:
        self.child = child
        self.url = url


class Deployment:
    """A stand-in model, and the gateways and workers that a test starts."""

    def __init__(self, infrastructure: Infrastructure) -> None:
        self.infrastructure = infrastructure
        self._data = DataDirectory(infrastructure.folder)
        self.children: list[Child] = []
        self.model_url = ""
        self.secrets_key = new_key()

    async def start_model(self) -> None:
        """Start the stand-in model."""
        port = free_port()
        command = (sys.executable, "-m", "turnstream_local.stand_in", "--port", str(port))
        await self.start(Child(Program("stand-in", command, os.environ), self._data, answers_http(port, "/health")))
        self.model_url = f"http://127.0.0.1:{port}"

    async def start_tools(self) -> str:
        """Start an MCP server with tools that remember what they did; return its address."""
        port = free_port()
        command = (sys.executable, "-m", "support.mcp_server", "--port", str(port))
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        name = f"tools-{len(self.children)}"
        await self.start(Child(Program(name, command, environment), self._data, answers_http(port, "/health")))
        return f"http://127.0.0.1:{port}"

    async def gateway(self, **settings: str) -> Gateway:
        """Start a gateway."""
        port = free_port()
        child = self._child("gateway", {"TURNSTREAM_HTTP_PORT": str(port), **settings})
        await self.start(child)
        return Gateway(child, f"http://127.0.0.1:{port}")

    async def worker(self, *, embedded: bool = False, **settings: str) -> Child:
        """Start a worker: on Llama Stack as a library, or, which starts faster, on the model as if it were a server."""
        stack = (
            {"STAND_IN_URL": f"{self.model_url}/v1", "TURNSTREAM_RUN_YAML": str(default_run_yaml())}
            if embedded
            else {"LLAMA_STACK_URL": self.model_url}
        )
        child = self._child("worker", {**stack, **settings})
        await self.start(child)
        return child

    @property
    def workers(self) -> list[Child]:
        """The workers that were started, the dead ones too."""
        return [child for child in self.children if child.name.startswith("worker")]

    async def script(self, match: str, *replies: dict[str, Any]) -> None:
        """Say what the model answers to user texts that hold `match`."""
        async with httpx.AsyncClient(base_url=self.model_url) as client:
            (await client.post("/script", json={"match": match, "replies": replies})).raise_for_status()

    async def model_requests(self, match: str) -> list[dict[str, Any]]:
        """Return the bodies of the requests that the model got with `match` in them."""
        async with httpx.AsyncClient(base_url=self.model_url) as client:
            data: list[dict[str, Any]] = (await client.get("/requests", params={"match": match})).json()["data"]
            return data

    async def stop(self) -> None:
        """Kill all that was started."""
        for child in reversed(self.children):
            await child.kill()

    def _child(self, service: str, settings: dict[str, str]) -> Child:
        environment = {
            **os.environ,
            "TURNSTREAM_NATS_URL": self.infrastructure.nats_url(service),
            "TURNSTREAM_POSTGRES_DSN": self.infrastructure.dsn,
            "TURNSTREAM_SECRETS_KEY": self.secrets_key,
            **QUICK,
            **settings,
        }
        name = f"{service}-{len(self.children)}"
        return Child(Program(name, (sys.executable, "-m", f"turnstream_{service}"), environment), self._data)

    async def start(self, child: Child) -> None:
        """Start a process, to be killed with the rest at the end."""
        self.children.append(child)
        await child.start()


@asynccontextmanager
async def deployed(infrastructure: Infrastructure) -> AsyncIterator[Deployment]:
    """Yield a deployment with its model running; stop all of it at the end."""
    deployment = Deployment(infrastructure)
    infrastructure_data = DataDirectory(infrastructure.folder)
    infrastructure_data.create()
    try:
        await deployment.start_model()
        yield deployment
    finally:
        await deployment.stop()
