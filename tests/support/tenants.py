"""Tenants with keys of their own, and what they have."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import httpx

from support.deployment import Gateway
from support.infrastructure import Infrastructure
from turnstream.ids import new_id

MESSAGE = {"type": "message", "role": "user", "content": "Let me in."}
SLOW = "[stand-in tokens=20 delay_ms=20] Go on."


@dataclass
class Tenant:
    """A tenant's client, and what there is of theirs."""

    name: str
    key: str
    http: httpx.AsyncClient
    secret: str  # stands in all texts of theirs
    response: str = ""
    running: str = ""  # a turn that has not ended
    conversation: str = ""
    item: str = ""
    said: str = ""  # an item of a turn
    prompt: str = ""

    @property
    def ids(self) -> dict[str, str]:
        """All of these by what they are."""
        return {kind: getattr(self, kind) for kind in ("response", "running", "conversation", "item", "said", "prompt")}

    async def ask(self, **body: Any) -> dict[str, Any]:
        """Post a turn and return the response."""
        answer = await self.http.post("/v1/responses", json={"model": "stand-in", **body})
        assert answer.status_code == httpx.codes.OK, answer.text
        response: dict[str, Any] = answer.json()
        return response

    async def settle(self) -> None:
        """Have a response, a conversation with items, and a turn that goes on for a while."""
        response = await self.ask(input=self.secret, metadata={"secret": self.secret})
        self.response, self.said = response["id"], response["output"][0]["id"]
        self.prompt = (await self.http.post("/v1/prompts", json={"prompt": self.secret})).json()["prompt_id"]
        body = {"metadata": {"secret": self.secret}, "items": [{**MESSAGE, "content": self.secret}]}
        self.conversation = (await self.http.post("/v1/conversations", json=body)).json()["id"]
        await self.ask(input=self.secret, conversation=self.conversation)
        self.item = (await self.http.get(f"/v1/conversations/{self.conversation}/items")).json()["data"][0]["id"]
        self.running = (await self.ask(input=f"{SLOW} {self.secret}", background=True))["id"]

    async def things(self) -> list[dict[str, Any]]:
        """Return all that is stored of theirs and does not change."""
        paths = (
            f"/v1/responses/{self.response}",
            f"/v1/responses/{self.response}/input_items",
            f"/v1/conversations/{self.conversation}",
            f"/v1/conversations/{self.conversation}/items",
            f"/v1/prompts/{self.prompt}",
        )
        return [(await self.http.get(path)).raise_for_status().json() for path in paths]


def make_tenant(infrastructure: Infrastructure, gateway: Gateway, *options: str) -> Tenant:
    """Return a new tenant, who has nothing yet but a key that was made with these options."""
    name = new_id("t-")
    _, key = make_key(infrastructure, name, *options)
    return Tenant(name, key, client(gateway, key), new_id("secret-"))


def make_key(infrastructure: Infrastructure, tenant: str, *options: str) -> tuple[str, str]:
    """Make a key as an operator of a cluster does; return its id and itself."""
    done = keys_command(infrastructure, "create", tenant, *options)
    [key_id] = re.findall(r"key_\w+", done.stderr)
    return key_id, done.stdout.strip()


def keys_command(infrastructure: Infrastructure, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the keys' command on the database that the environment names."""
    command = (sys.executable, "-m", "turnstream.keys", *arguments)
    environment = {**os.environ, "TURNSTREAM_POSTGRES_DSN": infrastructure.dsn}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True)


def client(gateway: Gateway, key: str | None = None) -> httpx.AsyncClient:
    """Return a plain client of a gateway that has a key."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return httpx.AsyncClient(base_url=gateway.url, headers=headers, timeout=30)
