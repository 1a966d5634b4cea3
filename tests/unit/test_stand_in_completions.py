"""The stand-in model's completions of texts."""

import json
from typing import Any

import httpx
import pytest
from support.stand_in import say, user


async def complete(client: httpx.AsyncClient, **options: Any) -> httpx.Response:
    """Ask for the completion of a text."""
    return await client.post("/v1/completions", json={"model": "stand-in", "prompt": "Hello there", **options})


async def test_text_completion(client: httpx.AsyncClient) -> None:
    """A text is completed as a user's only message is answered, streamed and whole."""
    made = (await complete(client)).json()
    assert made["object"] == "text_completion"
    assert made["choices"][0]["text"] == await say(client, user("Hello there"))
    assert made["usage"]["completion_tokens"] > 0
    streamed = (await complete(client, stream=True, stream_options={"include_usage": True})).text
    frames = [frame.removeprefix("data: ") for frame in streamed.split("\n\n") if frame]
    assert frames[-1] == "[DONE]"
    chunks = [json.loads(frame) for frame in frames[:-1]]
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks[:-1]) == made["choices"][0]["text"]
    assert chunks[-1]["usage"] == made["usage"]
    assert (await complete(client, prompt=["Hello there"])).json()["choices"] == made["choices"]


async def test_text_completion_is_limited_and_scripted(client: httpx.AsyncClient) -> None:
    """Limits and scripts hold for texts too."""
    assert (await complete(client, max_tokens=3)).json()["choices"][0]["finish_reason"] == "length"
    await client.post("/script", json={"match": "there", "replies": [{"error": {"status": 503, "retry_after": 4}}]})
    refused = await complete(client)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "4")


@pytest.mark.parametrize("body", [{"prompt": None}, {"prompt": ["a", "b"]}, {"prompt": ""}])
async def test_bad_text_completion(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    """A prompt that is no text is refused."""
    assert (await complete(client, **body)).json()["error"]["param"] == "prompt"
