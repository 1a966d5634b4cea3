"""A real inference server, llama.cpp's, as a process that a test can pause, kill and start again."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import httpx

from turnstream_local.child import Child, Program
from turnstream_local.layout import DataDirectory
from turnstream_local.ports import LOOPBACK, free_port
from turnstream_local.readiness import answers_http

PROGRAM = Path(__file__).with_name("serve_tiny_model.py")


class InferenceServer:
    """A server of one model's chat completions, the same address over restarts."""

    def __init__(self, name: str, model: Path, folder: Path, *, context: int, options: tuple[str, ...] = ()) -> None:
        """Serve a GGUF file with a context of so many tokens; the process's log goes to the folder."""
        self.name = name
        port = free_port()
        self.url = f"http://{LOOPBACK}:{port}"
        command = (sys.executable, str(PROGRAM), str(model), f"--port={port}", f"--context={context}")
        program = Program(f"inference-{name}", (*command, *options), os.environ)
        self._child = Child(program, DataDirectory(folder), answers_http(port, "/health"))

    async def start(self) -> None:
        """Start it, and return when the model is loaded."""
        await self._child.start()

    async def kill(self) -> None:
        """Kill it without warning."""
        await self._child.kill()

    def pause(self) -> None:
        """Let it stand still with its connections open."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    async def prompt_tokens(self, messages: list[dict[str, Any]]) -> int:
        """Count the tokens of a conversation as the model reads it."""
        async with httpx.AsyncClient(base_url=self.url, timeout=30) as http:
            prompt = (await http.post("/apply-template", json={"messages": messages})).json()["prompt"]
            return len((await http.post("/tokenize", json={"content": prompt, "parse_special": True})).json()["tokens"])

    async def idle(self) -> int:
        """Return when it answers nobody any more, and how many tokens it has written since it was started."""
        async with asyncio.timeout(30), httpx.AsyncClient(base_url=self.url, timeout=30) as http:
            while True:
                lines = (await http.get("/metrics")).text.splitlines()
                counted = dict(line.split() for line in lines if not line.startswith("#"))
                if counted["llamacpp:requests_processing"] == "0":
                    return int(counted["llamacpp:tokens_predicted_total"])
                await asyncio.sleep(0.02)

    def _signal(self, number: signal.Signals) -> None:
        assert self._child.pid
        os.kill(self._child.pid, number)
