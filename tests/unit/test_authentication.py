"""Who is let in, before anything of the request is read."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from turnstream.errors import StoreUnavailableError
from turnstream.keys import Caller, Keys, digest
from turnstream_gateway.authentication import Authentication
from turnstream_gateway.keyring import Keyring
from turnstream_gateway.tenants import Tenant

KEY = "ts_" + "a" * 43


class Table(Keys):
    """A table of one key, or one that cannot be read."""

    def __init__(self, *, away: bool = False) -> None:
        self._away = away

    async def callers(self) -> dict[bytes, Caller]:
        """Return whose the key is."""
        if self._away:
            raise StoreUnavailableError("away")
        return {digest(KEY.encode()): Caller("acme", admin=False)}


def client(*, away: bool = False) -> httpx.AsyncClient:
    """Return a client of an application that says whose requests it gets."""
    app = FastAPI()
    app.add_middleware(Authentication, keyring=Keyring(Table(away=away), 60, private=True))

    @app.get("/v1/health")
    @app.get("/v1/version")
    async def probed() -> str:
        return "fine"

    @app.get("/v1/mine")
    @app.post("/v1/mine")
    async def mine(tenant: Tenant) -> str:
        return tenant

    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway")


@pytest.mark.parametrize("header", [f"Bearer {KEY}", f"bearer {KEY}", f"Bearer  {KEY} "])
async def test_a_key_lets_in(header: str) -> None:
    """A request with a valid key is its tenant's."""
    assert (await client().get("/v1/mine", headers={"authorization": header})).json() == "acme"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        {"authorization": KEY},
        {"authorization": f"Basic {KEY}"},
        {"authorization": f"Bearer {KEY}a"},
        {"authorization": f"Bearer {KEY[:-1]}b"},
        {"x-api-key": KEY},
    ],
)
@pytest.mark.parametrize("path", ["/v1/mine", "/v1/nothing", "/v1/health/", "/"])
async def test_anything_else_does_not(headers: dict[str, str], path: str) -> None:
    """Without a valid key every path is a 401 in OpenAI's shape, also one that leads nowhere."""
    answer = await client().get(path, headers=headers)
    assert answer.status_code == httpx.codes.UNAUTHORIZED
    assert answer.headers["www-authenticate"] == "Bearer"
    error: dict[str, Any] = answer.json()["error"]
    assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", "invalid_api_key", None)
    assert KEY[3:] not in answer.text


async def test_the_body_of_a_stranger_is_not_read() -> None:
    """A request is refused before its body is asked for."""
    read = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal read
        read += 1
        yield b"{}"

    assert (await client().post("/v1/mine", content=body())).status_code == httpx.codes.UNAUTHORIZED
    assert read == 0


@pytest.mark.parametrize("path", ["/v1/health", "/v1/version"])
async def test_probes_need_no_key(path: str) -> None:
    """How the gateway is can be asked without a key, and while the keys cannot be read."""
    assert (await client(away=True).get(path)).json() == "fine"


async def test_unknown_while_the_store_is_away() -> None:
    """Who cannot be told from a stranger is asked to try again."""
    answer = await client(away=True).get("/v1/mine", headers={"authorization": f"Bearer {KEY}"})
    assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
    assert answer.headers["retry-after"] == "1"
