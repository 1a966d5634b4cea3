"""What a client sends along for tools and providers alone: nobody sees it, and nothing holds it but sealed."""

import json
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from pydantic import SecretStr
from support.deployment import Deployment, Gateway
from support.reader import TIMEOUT, Event

from turnstream.ids import new_id
from turnstream.secrets import Secrets

HEADER = "X-LlamaStack-Provider-Data"
SLOW = "[stand-in tokens=200 delay_ms=20] Go on."


@pytest.fixture
async def database(deployment: Deployment) -> AsyncIterator[asyncpg.Connection]:
    """The database behind Turnstream."""
    connection = await asyncpg.connect(deployment.infrastructure.dsn)
    yield connection
    await connection.close()


async def dump(database: asyncpg.Connection) -> str:
    """Return all that all tables hold, as text."""
    tables = await database.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    assert "turns" in {row["tablename"] for row in tables}
    select = "SELECT coalesce(string_agg(t::text, ''), '') FROM {} AS t"
    return "".join([await database.fetchval(select.format(row["tablename"])) for row in tables])


def files_with(folder: Path, secret: str) -> list[Path]:
    """Return the files below a folder that hold a secret: logs, streams, and what the database has written."""
    found = []
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # the servers at work
            if path.is_file() and secret.encode() in path.read_bytes():
                found.append(path)
    return found


async def test_nobody_sees_it(deployment: Deployment, gateway: Gateway, database: asyncpg.Connection) -> None:
    """Neither the events, the response, the logs nor the database holds it; while the turn runs it can be opened."""
    secret, told = new_id("hush-"), new_id("told-")
    data = {"tavily_search_api_key": secret}
    events: list[Event] = []
    async with (
        httpx.AsyncClient(base_url=gateway.url, timeout=TIMEOUT) as http,
        http.stream(
            "POST",
            "/v1/responses",
            json={"model": "stand-in", "input": SLOW, "metadata": {"told": told}, "stream": True},
            headers={HEADER: json.dumps(data)},
        ) as answer,
    ):
        async for line in answer.aiter_lines():
            if line.startswith("data: "):
                events.append(json.loads(line.removeprefix("data: ")))
                if len(events) == 10:
                    break
        turn = events[0]["response"]["id"]
        sealed = await database.fetchval("SELECT secrets FROM turns WHERE id = $1", turn)
        assert Secrets(SecretStr(deployment.secrets_key)).open(turn, sealed) == {"provider_data": data}
        held = await dump(database)
        assert told in held
        assert secret not in held
        assert secret.encode().hex() not in held
        response = (await http.post(f"/v1/responses/{turn}/cancel")).json()
        assert secret not in json.dumps([events, response])
    assert files_with(deployment.infrastructure.folder, told)
    assert files_with(deployment.infrastructure.folder, secret) == []


async def test_gone_with_the_end(gateway: Gateway, database: asyncpg.Connection) -> None:
    """When a turn has ended nothing is left of what came along with it."""
    async with httpx.AsyncClient(base_url=gateway.url, timeout=TIMEOUT) as http:
        body = {"model": "stand-in", "input": "Hello."}
        response = (await http.post("/v1/responses", json=body, headers={HEADER: '{"key": "hush"}'})).json()
    assert response["status"] == "completed"
    assert not await database.fetchval("SELECT secrets FROM turns WHERE id = $1", response["id"])


@pytest.mark.parametrize("header", ["hush", '["hush"]', '{"hush":', ""])
async def test_malformed(gateway: Gateway, header: str) -> None:
    """Provider data that is no JSON object is refused before anything is accepted, and is not told again."""
    async with httpx.AsyncClient(base_url=gateway.url, timeout=TIMEOUT) as http:
        body = {"model": "stand-in", "input": "Hello."}
        answer = await http.post("/v1/responses", json=body, headers={HEADER: header})
    assert answer.status_code == httpx.codes.BAD_REQUEST
    assert answer.json()["error"]["param"] == HEADER.lower()
    assert "hush" not in answer.text


async def test_no_key_to_seal_with(deployment: Deployment) -> None:
    """Where the operator has set no key, a request that brings secrets is refused and not tried again; others run."""
    keyless = await deployment.gateway(TURNSTREAM_SECRETS_KEY="")
    async with httpx.AsyncClient(base_url=keyless.url, timeout=TIMEOUT) as http:
        body: dict[str, Any] = {"model": "stand-in", "input": "Hello."}
        answer = await http.post("/v1/responses", json=body, headers={HEADER: '{"key": "hush"}'})
        assert answer.status_code == httpx.codes.NOT_IMPLEMENTED
        assert answer.headers["x-should-retry"] == "false"
        error = answer.json()["error"]
        assert error["code"] == "secrets_not_configured"
        assert "TURNSTREAM_SECRETS_KEY" in error["message"]
        assert (await http.post("/v1/responses", json=body)).json()["status"] == "completed"
    await keyless.child.kill()


async def test_secrets_of_a_server(fragile: Deployment) -> None:
    """What an MCP server is sent is neither shown with the tool nor kept with it."""
    gateway = await fragile.gateway(TURNSTREAM_MODELS_TTL="60")
    worker = await fragile.worker()
    secret = new_id("hush-")
    tool = {"type": "mcp", "server_label": "wiki", "server_url": "https://wiki.example/mcp"}
    given = {**tool, "headers": {"X-Key": secret}, "authorization": secret}
    async with httpx.AsyncClient(base_url=gateway.url, timeout=TIMEOUT) as http:
        assert (await http.get("/v1/models/stand-in")).is_success
        await worker.kill()
        body = {"model": "stand-in", "input": "Hello.", "background": True, "tools": [given]}
        response = (await http.post("/v1/responses", json=body)).raise_for_status().json()
        turn = response["id"]
        [shown] = response["tools"]
        assert {name: value for name, value in shown.items() if value} == tool
        assert secret not in (await http.get(f"/v1/responses/{turn}")).text
        connection = await asyncpg.connect(fragile.infrastructure.dsn)
        sealed = await connection.fetchval("SELECT secrets FROM turns WHERE id = $1", turn)
        opened = Secrets(SecretStr(fragile.secrets_key)).open(turn, sealed)
        assert opened == {"tools": {"wiki": {"headers": {"X-Key": secret}, "authorization": secret}}}
        assert secret not in await dump(connection)
        await connection.close()
        await http.post(f"/v1/responses/{turn}/cancel")
    assert files_with(fragile.infrastructure.folder, secret) == []
