"""How the stand-in model is asked, in process, and what it answers."""

import json
from typing import Any

import httpx

from turnstream_local.stand_in.app import StandIn


def client_of(app: StandIn) -> httpx.AsyncClient:
    """Make a client that calls an application without a socket."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://stand-in")


def user(text: str) -> dict[str, Any]:
    """Make a user's message."""
    return {"role": "user", "content": text}


def tool(name: str, parameters: dict[str, Any] | None = None) -> dict[str, Any]:
    """Make the offer of a tool."""
    return {"type": "function", "function": {"name": name, "parameters": parameters or {"type": "object"}}}


async def post(client: httpx.AsyncClient, *messages: dict[str, Any], **options: Any) -> httpx.Response:
    """Ask for a chat completion."""
    body = {"model": "stand-in", "messages": list(messages), **options}
    return await client.post("/v1/chat/completions", json=body)


async def choice(client: httpx.AsyncClient, *messages: dict[str, Any], **options: Any) -> dict[str, Any]:
    """Give the answer's only choice."""
    response = await post(client, *messages, **options)
    assert response.status_code == 200, response.text
    first: dict[str, Any] = response.json()["choices"][0]
    return first


async def say(client: httpx.AsyncClient, *messages: dict[str, Any], **options: Any) -> str:
    """Give the answer's text."""
    return str((await choice(client, *messages, **options))["message"]["content"])


async def stream(client: httpx.AsyncClient, *messages: dict[str, Any], **options: Any) -> list[Any]:
    """Give the frames of a stream; the last is the text behind `data: ` if it is not JSON."""
    response = await post(client, *messages, stream=True, **options)
    frames = [frame.removeprefix("data: ") for frame in response.text.split("\n\n") if frame]
    return [frame if frame == "[DONE]" else json.loads(frame) for frame in frames]


def texts(frames: list[Any]) -> list[str]:
    """Give the content of each chunk that has some."""
    deltas = [frame["choices"][0]["delta"] for frame in frames if isinstance(frame, dict) and frame.get("choices")]
    return [delta["content"] for delta in deltas if delta.get("content")]
