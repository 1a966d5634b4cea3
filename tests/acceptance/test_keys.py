"""API keys, from the operator who makes them to the client that sends them."""

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path

import httpx
import llama_stack_client
import openai
import pytest
from support.deployment import Deployment, Gateway
from support.tenants import Tenant, client, keys_command, make_key

from turnstream.ids import new_id
from turnstream_local.errors import ChildFailedError

TURNSTREAM = str(Path(sys.executable).with_name("turnstream"))
DEADLINE = 10  # seconds until a key must have ended


async def test_the_openai_sdk(door: Gateway, tenants: tuple[Tenant, Tenant]) -> None:
    """The SDK sends its key, and says of one that is not valid what it says of OpenAI's own."""
    base = f"{door.url}/v1"
    async with openai.AsyncOpenAI(base_url=base, api_key=tenants[0].key, max_retries=0) as sdk:
        assert (await sdk.responses.retrieve(tenants[0].response)).id == tenants[0].response
        async with sdk.responses.stream(model="stand-in", input="Hello.") as stream:
            assert "Hello." in (await stream.get_final_response()).output_text
    async with openai.AsyncOpenAI(base_url=base, api_key="none", max_retries=0) as sdk:
        with pytest.raises(openai.AuthenticationError) as refused:
            await sdk.responses.create(model="stand-in", input="Hello.")
    assert refused.value.code == "invalid_api_key"


async def test_the_llama_stack_client(door: Gateway, tenants: tuple[Tenant, Tenant]) -> None:
    """Llama Stack's own client gets in with a key, and not without one."""
    async with llama_stack_client.AsyncLlamaStackClient(base_url=door.url, api_key=tenants[0].key) as sdk:
        assert (await sdk.responses.retrieve(tenants[0].response)).id == tenants[0].response
    async with llama_stack_client.AsyncLlamaStackClient(base_url=door.url) as sdk:
        with pytest.raises(llama_stack_client.AuthenticationError):
            await sdk.models.list()


async def test_only_probes_need_no_key(door: Gateway, tenants: tuple[Tenant, Tenant]) -> None:
    """Once there is a key, nothing but how the gateway is can be asked without one."""
    async with client(door) as http:
        for path in ("/v1/health", "/v1/version"):
            assert (await http.get(path)).status_code == httpx.codes.OK
        for path in ("models", "responses", f"responses/{tenants[0].response}", f"turns/{tenants[0].response}/events"):
            assert (await http.get(f"/v1/{path}")).status_code == httpx.codes.UNAUTHORIZED
        for path in ("responses", "conversations", f"conversations/{tenants[0].conversation}"):
            assert (await http.post(f"/v1/{path}", json={})).status_code == httpx.codes.UNAUTHORIZED
        for path in ("/openapi.json", "/", "/v1/nothing"):
            assert (await http.get(path)).status_code == httpx.codes.UNAUTHORIZED


async def test_a_revoked_key(guarded: Deployment, door: Gateway) -> None:
    """A key that is revoked lets nobody in any more, and the tenant's other keys go on."""
    name = new_id("t-")
    made = [make_key(guarded.infrastructure, name) for _ in range(2)]
    async with client(door, made[0][1]) as revoked, client(door, made[1][1]) as other:
        created = await revoked.post("/v1/conversations", json={})
        path = f"/v1/conversations/{created.json()['id']}"
        keys_command(guarded.infrastructure, "revoke", made[0][0])
        async with asyncio.timeout(DEADLINE):
            while (await revoked.get(path)).status_code != httpx.codes.UNAUTHORIZED:
                pass
        assert (await other.get(path)).status_code == httpx.codes.OK


@pytest.mark.parametrize("silent", [False, True])
async def test_a_key_revoked_in_mid_stream(guarded: Deployment, door: Gateway, *, silent: bool) -> None:
    """A stream ends soon after its key does, with the error of a 401, whether events come or not; its turn goes on."""
    name = new_id("t-")
    made = [make_key(guarded.infrastructure, name) for _ in range(2)]
    pace = "first_delay_ms=60000" if silent else "tokens=600 delay_ms=100"
    body = {"model": "stand-in", "input": f"[stand-in {pace}] Go on.", "stream": True}
    async with (
        client(door, made[0][1]) as revoked,
        client(door, made[1][1]) as other,
        asyncio.timeout(DEADLINE),
        revoked.stream("POST", "/v1/responses", json=body) as answer,
    ):
        keys_command(guarded.infrastructure, "revoke", made[0][0])
        events = [json.loads(line[6:]) async for line in answer.aiter_lines() if line.startswith("data: ")]
        turn = f"/v1/responses/{answer.headers['x-response-id']}"
        assert (await other.get(turn)).json()["status"] == "in_progress"
        await other.post(f"{turn}/cancel")
    refused = events[-1]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert (refused["type"], refused["code"]) == ("error", "invalid_api_key")
    assert refused["error"]["type"] == "invalid_request_error"
    assert refused["message"] == refused["error"]["message"]


async def test_keys_by_data_directory(guarded: Deployment, door: Gateway) -> None:
    """On one machine keys are made, listed and revoked by the directory that everything lies in."""

    def keys(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = (TURNSTREAM, "keys", *arguments, "--data-dir", str(guarded.infrastructure.folder))
        return subprocess.run(command, capture_output=True, text=True, check=False)

    name = new_id("t-")
    key = keys("create", name, "--name", "the first one").stdout.strip()
    async with client(door, key) as http:
        assert (await http.get("/v1/models")).status_code == httpx.codes.OK
    [line] = [line for line in keys("list").stdout.splitlines() if name in line]
    assert "the first one" in line
    assert key[:9] in line
    assert key not in line
    assert keys("revoke", line.split()[0]).returncode == 0
    assert re.search(rf"{name} .*\d\d:\d\d .*\d\d:\d\d ", keys("list").stdout)
    unknown = keys("revoke", "key_x")
    assert (unknown.returncode, unknown.stderr) == (1, "turnstream: there is no key 'key_x'\n")


async def test_admin_keys_can_be_told(guarded: Deployment) -> None:
    """Whoever makes or lists keys sees which are admin keys."""
    name = new_id("t-")
    for options, admin in (((), "-"), (("--admin",), "yes")):
        made = keys_command(guarded.infrastructure, "create", name, *options)
        assert (", an admin key." in made.stderr) == bool(options)
        [key_id] = re.findall(r"key_\w+", made.stderr)
        [line] = [line for line in keys_command(guarded.infrastructure, "list").stdout.splitlines() if key_id in line]
        assert line.split()[-1] == admin


async def test_a_browser_with_a_key(guarded: Deployment, tenants: tuple[Tenant, Tenant]) -> None:
    """A page may send its key, is asked for none by a preflight, and can read why it is refused."""
    origin = {"origin": "https://app.example"}
    gateway = await guarded.gateway(TURNSTREAM_CORS_ORIGINS='["https://app.example"]')
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    async with client(gateway) as http:
        preflight = await http.options("/v1/responses", headers={**origin, **asked})
        assert preflight.status_code == httpx.codes.OK
        assert preflight.headers["access-control-allow-headers"] == "authorization"
        refused = await http.get("/v1/models", headers=origin)
        assert refused.status_code == httpx.codes.UNAUTHORIZED
        assert refused.headers["access-control-allow-origin"] == "https://app.example"
    async with client(gateway, tenants[0].key) as http:
        assert (await http.get("/v1/models", headers=origin)).status_code == httpx.codes.OK


async def test_listening_for_others(guarded: Deployment, tenants: tuple[Tenant, Tenant]) -> None:
    """Where there are keys a gateway may listen on every address, and serves nobody without one."""
    gateway = await guarded.gateway(TURNSTREAM_HTTP_HOST="0.0.0.0")
    async with client(gateway) as http:
        assert (await http.get("/v1/models")).status_code == httpx.codes.UNAUTHORIZED
    async with client(gateway, tenants[0].key) as http:
        assert (await http.get("/v1/models")).status_code == httpx.codes.OK


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
async def test_listening_for_others_without_keys(fragile: Deployment, host: str) -> None:
    """Where there are none it does not start, and says how to make one."""
    with pytest.raises(ChildFailedError):
        await fragile.gateway(TURNSTREAM_HTTP_HOST=host)
    assert "turnstream.keys create TENANT" in fragile.children[-1].log.tail()


async def test_postgres_is_away(guarded: Deployment, tenants: tuple[Tenant, Tenant]) -> None:
    """Who is known goes on for a while; of anybody else it cannot be told, so that they are to try again."""
    gateway = await guarded.gateway(TURNSTREAM_KEYS_TTL="300", TURNSTREAM_STORE_PATIENCE="0.2")
    async with client(gateway, tenants[0].key) as known, client(gateway, f"ts_{'x' * 43}") as unknown:
        assert (await known.get("/v1/models")).status_code == httpx.codes.OK
        await guarded.infrastructure.postgres.kill()
        try:
            assert (await known.get("/v1/models")).status_code == httpx.codes.OK
            answer = await unknown.get("/v1/models")
            assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
            assert answer.headers["retry-after"] == "1"
        finally:
            await guarded.infrastructure.postgres.start()
        assert (await unknown.get("/v1/models")).status_code == httpx.codes.UNAUTHORIZED
