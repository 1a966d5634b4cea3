"""What the stand-in model refuses, in OpenAI's shape."""

import httpx
import pytest
from support.stand_in import post, tool, user


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{", None),
        (b"[]", None),
        (b'{"model": "stand-in"}', "messages"),
        (b'{"model": "stand-in", "messages": []}', "messages"),
        (b'{"model": "stand-in", "messages": [{"role": "king", "content": "x"}]}', "messages.0.role"),
        (b'{"model": "stand-in", "messages": [{"role": "user", "content": "x"}], "n": 2}', "n"),
    ],
)
async def test_bad_body_is_refused(client: httpx.AsyncClient, body: bytes, param: str | None) -> None:
    """A body that makes no sense is a 400 in OpenAI's shape, naming the field."""
    response = await client.post("/v1/chat/completions", content=body)
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"
    assert response.json()["error"]["param"] == param


async def test_unknown_model_is_refused(client: httpx.AsyncClient) -> None:
    """A model that is not served is a 404 in OpenAI's shape."""
    response = await post(client, user("Hi"), model="other")
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "model_not_found"


async def test_unknown_place_is_refused(client: httpx.AsyncClient) -> None:
    """An unknown path is a 404, a known one with another method a 405."""
    assert (await client.get("/nowhere")).status_code == 404
    assert (await client.put("/script")).status_code == 405


async def test_malformed_tool_schema_is_refused(client: httpx.AsyncClient) -> None:
    """A tool whose schema is no schema is a 400, not a failure of the server."""
    response = await post(client, user("Hi"), tools=[tool("t", {"type": "object", "required": 5})])
    assert response.status_code == 400
