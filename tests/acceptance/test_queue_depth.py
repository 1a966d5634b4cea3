"""How much may be queued: of one tenant, and of all. And what becomes of a turn that cannot be queued."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import openai
import pytest
from support.deployment import Deployment, Gateway, deployed
from support.infrastructure import embedded
from support.tenants import Tenant, client, make_tenant

from turnstream.ids import new_id

SLOW = "[stand-in tokens=600 delay_ms=100] Go on."
DEADLINE = 20  # seconds
PER_TENANT, WHOLE = 2, 3


@pytest.fixture(scope="module")
async def shallow() -> AsyncIterator[Deployment]:
    """Turnstream with a queue that is full soon."""
    async with embedded() as infrastructure, deployed(infrastructure) as running:
        await infrastructure.provision(queue_depth_per_tenant=PER_TENANT, queue_depth=WHOLE)
        await running.worker()
        yield running


@pytest.fixture(scope="module")
async def shallow_gateway(shallow: Deployment) -> Gateway:
    """A gateway of `shallow`."""
    return await shallow.gateway()


@pytest.fixture
async def pair(shallow: Deployment, shallow_gateway: Gateway) -> AsyncIterator[tuple[Tenant, Tenant]]:
    """Two new tenants, whose turns are cancelled in the end."""
    tenants = tuple(make_tenant(shallow.infrastructure, shallow_gateway) for _ in range(2))
    first, second = tenants
    async with first.http, second.http:
        yield first, second
        for tenant in tenants:
            for response in (await tenant.http.get("/v1/responses")).json()["data"]:
                await tenant.http.post(f"/v1/responses/{response['id']}/cancel")


async def post(tenant: Tenant, **headers: str) -> httpx.Response:
    """Post a turn that goes on for a minute."""
    body = {"model": "stand-in", "input": SLOW, "background": True}
    return await tenant.http.post("/v1/responses", json=body, headers=headers)


async def accepted(tenant: Tenant, **headers: str) -> str:
    """Post such a turn until it is accepted; return its id."""
    async with asyncio.timeout(DEADLINE):
        while (answer := await post(tenant, **headers)).status_code == httpx.codes.TOO_MANY_REQUESTS:
            pass
    assert answer.status_code == httpx.codes.OK
    return str(answer.json()["id"])


async def responses(tenant: Tenant) -> set[str]:
    """Return the ids of a tenant's responses."""
    return {response["id"] for response in (await tenant.http.get("/v1/responses")).json()["data"]}


def check_refusal(answer: httpx.Response) -> None:
    """Check that a turn was refused in the way that asks its client to wait."""
    assert answer.status_code == httpx.codes.TOO_MANY_REQUESTS
    assert answer.headers["retry-after"] == "1"
    error = answer.json()["error"]
    assert (error["type"], error["code"], error["param"]) == ("rate_limit_error", "queue_full", None)


async def test_a_tenants_depth(pair: tuple[Tenant, Tenant]) -> None:
    """A tenant with as many turns queued or running as may be is told to wait; nothing is kept, others are served."""
    acme, globex = pair
    turns = {await accepted(acme) for _ in range(PER_TENANT)}
    check_refusal(await post(acme))
    streamed = await acme.http.post("/v1/responses", json={"model": "stand-in", "input": "Hi.", "stream": True})
    check_refusal(streamed)
    assert await responses(acme) == turns
    answer = await globex.ask(input="Hello.")
    assert answer["status"] == "completed"


async def test_the_depth_of_all(pair: tuple[Tenant, Tenant]) -> None:
    """With as many turns of all as may be, also a tenant is told to wait who has few."""
    acme, globex = pair
    turns = {await accepted(acme) for _ in range(PER_TENANT)}
    turns |= {await accepted(globex) for _ in range(WHOLE - PER_TENANT)}
    check_refusal(await post(globex))
    assert await responses(acme) | await responses(globex) == turns


async def test_room_again(pair: tuple[Tenant, Tenant]) -> None:
    """Once a turn has ended there is room for another, also for the request that was refused, under its key."""
    acme, _ = pair
    first, second = [await accepted(acme) for _ in range(PER_TENANT)]
    key = {"idempotency-key": new_id("idempotency-")}
    check_refusal(await post(acme, **key))
    await acme.http.post(f"/v1/responses/{first}/cancel")
    third = await accepted(acme, **key)
    assert await responses(acme) == {first, second, third}
    assert (await post(acme, **key)).json()["id"] == third


async def test_the_openai_sdk(shallow_gateway: Gateway, pair: tuple[Tenant, Tenant]) -> None:
    """The SDK sees a rate limit, by which it would wait and try again."""
    acme, _ = pair
    for _ in range(PER_TENANT):
        await accepted(acme)
    base = f"{shallow_gateway.url}/v1"
    async with openai.AsyncOpenAI(base_url=base, api_key=acme.key, max_retries=0) as sdk:
        with pytest.raises(openai.RateLimitError) as refused:
            await sdk.responses.create(model="stand-in", input="Hello.")
    assert refused.value.code == "queue_full"


# A queue that is away

IMPATIENT = {
    "TURNSTREAM_BUS_TIMEOUT": "0.5",
    "TURNSTREAM_ACCEPT_PATIENCE": "2",
    "TURNSTREAM_STORE_TIMEOUT": "1",
    "TURNSTREAM_STORE_PATIENCE": "1",
}


async def completed(http: httpx.AsyncClient, text: str) -> dict[str, Any]:
    """Post a turn until it is accepted, and return its response."""
    async with asyncio.timeout(DEADLINE):
        while (answer := await http.post("/v1/responses", json={"model": "stand-in", "input": text})).is_error:
            assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
    response: dict[str, Any] = answer.json()
    assert response["status"] == "completed"
    return response


async def test_nats_and_postgres_are_away(fragile: Deployment) -> None:
    """A turn that can be neither queued nor taken back is not called refused, and a retry joins it."""
    gateway = await fragile.gateway(**IMPATIENT)
    infrastructure = fragile.infrastructure
    body = {"model": "stand-in", "input": new_id("uncertain-")}
    stored = "SELECT count(*) FROM turns WHERE strpos(input::text, $1) > 0"
    connection = await asyncpg.connect(infrastructure.dsn)
    async with client(gateway) as http:
        await infrastructure.nats.stop()
        try:
            asking = asyncio.create_task(http.post("/v1/responses", json=body))
            async with asyncio.timeout(DEADLINE):
                while not await connection.fetchval(stored, body["input"]):
                    pass
            connection.terminate()
            await infrastructure.postgres.kill()
            try:
                async with asyncio.timeout(DEADLINE):
                    answer = await asking
            finally:
                await infrastructure.postgres.start()
        finally:
            await infrastructure.nats.start()
        assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
        assert answer.headers["retry-after"] == "1"
        error = answer.json()["error"]
        assert error["code"] == "acceptance_unknown"
        [turn] = re.findall(r"resp_\w+", error["message"])
        await fragile.worker()
        await completed(http, "Hello.")
        again = await http.post("/v1/responses", json=body, headers={"x-stainless-retry-count": "1"})
        assert (again.json()["id"], again.json()["status"]) == (turn, "completed")
        assert len(await fragile.model_requests(body["input"])) == 1
