"""The stand-in model's embeddings."""

import base64
import struct
from typing import Any

import httpx
import pytest
from support.stand_in import post, user


async def vectors(client: httpx.AsyncClient, texts: Any, **options: Any) -> list[Any]:
    """Ask for the vectors of texts."""
    body = {"model": "stand-in-embedding", "input": texts, **options}
    response = await client.post("/v1/embeddings", json=body)
    assert response.status_code == 200, response.text
    data = response.json()["data"]
    assert [one["index"] for one in data] == list(range(len(data)))
    return [one["embedding"] for one in data]


async def test_embeddings_are_near_where_texts_are(client: httpx.AsyncClient) -> None:
    """A text's vector is always the same, of length one, and nearer to that of a text that shares words with it."""
    cat, other_cat, fish = await vectors(client, ["the black cat", "a black cat!", "some salted fish"])
    assert await vectors(client, "the black cat") == [cat]
    assert sum(value * value for value in cat) == pytest.approx(1)
    near, far = (sum(a * b for a, b in zip(cat, other, strict=True)) for other in (other_cat, fish))
    assert near > 0.5 > far


async def test_embeddings_as_they_are_asked_for(client: httpx.AsyncClient) -> None:
    """The size and the encoding of a vector can be chosen; tokens are embedded too."""
    [plain] = await vectors(client, "a cat", dimensions=5)
    [encoded] = await vectors(client, "a cat", dimensions=5, encoding_format="base64")
    assert list(struct.unpack("<5f", base64.b64decode(encoded))) == pytest.approx(plain)
    assert len(await vectors(client, [[1, 2], [3]])) == 2
    assert len(await vectors(client, [1, 2])) == 1
    assert len((await vectors(client, " ", dimensions=3))[0]) == 3


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"model": "stand-in", "input": "a"}, 404),
        ({"model": "stand-in-embedding"}, 400),
        ({"model": "stand-in-embedding", "input": []}, 400),
        ({"model": "stand-in-embedding", "input": "a", "dimensions": 0}, 400),
        ({"model": "stand-in-embedding", "input": "a", "encoding_format": "hex"}, 400),
    ],
)
async def test_bad_embeddings(client: httpx.AsyncClient, body: dict[str, Any], status: int) -> None:
    """What cannot be embedded is refused, and so is a model that does not embed."""
    assert (await client.post("/v1/embeddings", json=body)).status_code == status


async def test_embeddings_are_scripted(client: httpx.AsyncClient) -> None:
    """A script makes embeddings fail, and their requests are kept."""
    await client.post("/script", json={"match": "cat", "replies": [{"error": {"status": 429, "retry_after": 2}}]})
    body = {"model": "stand-in-embedding", "input": ["a cat"]}
    refused = await client.post("/v1/embeddings", json=body)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "2")
    assert (await client.get("/requests", params={"match": "cat"})).json() == {"data": [body], "left": 0}


async def test_embedding_model_does_not_chat(client: httpx.AsyncClient) -> None:
    """The model that embeds does nothing else."""
    assert (await post(client, user("Hi"), model="stand-in-embedding")).status_code == 404
