"""The clients that these tests speak through, and Turnstream with API keys."""

from collections.abc import AsyncIterator

import openai
import pytest
from support.deployment import Deployment, Gateway, deployed
from support.infrastructure import embedded
from support.tenants import Tenant, make_tenant
from support.tool_turns import ALLOWED


@pytest.fixture(scope="session")
async def client(gateway: Gateway) -> AsyncIterator[openai.AsyncOpenAI]:
    """The openai SDK, pointed at Turnstream."""
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as sdk:
        yield sdk


@pytest.fixture(scope="session")
async def guarded() -> AsyncIterator[Deployment]:
    """Turnstream on a database of its own, since one that has seen a key asks everybody for one."""
    async with embedded() as infrastructure, deployed(infrastructure) as running:
        await running.worker(**ALLOWED)
        yield running


@pytest.fixture(scope="session")
async def door(guarded: Deployment) -> Gateway:
    """A gateway of `guarded`."""
    return await guarded.gateway(TURNSTREAM_KEYS_TTL="0.2")


@pytest.fixture
async def tenants(guarded: Deployment, door: Gateway) -> AsyncIterator[tuple[Tenant, Tenant]]:
    """Two tenants of the test's own, each with the same things."""
    first, second = (make_tenant(guarded.infrastructure, door) for _ in range(2))
    async with first.http, second.http:
        await first.settle()
        await second.settle()
        yield first, second
