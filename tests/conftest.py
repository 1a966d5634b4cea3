"""Fixtures of the running system. Unit tests use none of them."""

from collections.abc import AsyncIterator

import pytest
from support.deployment import Deployment, Gateway, deployed
from support.infrastructure import Infrastructure, embedded


@pytest.fixture(scope="session")
async def deployment() -> AsyncIterator[Deployment]:
    """Turnstream as it is meant to run, for tests that break nothing: a worker on the embedded Llama Stack."""
    async with embedded() as infrastructure, deployed(infrastructure) as running:
        await running.worker(embedded=True)
        yield running


@pytest.fixture(scope="session")
async def gateway(deployment: Deployment) -> Gateway:
    """A gateway of `deployment`."""
    return await deployment.gateway()


@pytest.fixture(scope="session")
async def breakable() -> AsyncIterator[Infrastructure]:
    """Return an infrastructure that tests break, one after the other, and leave running."""
    async with embedded() as infrastructure:
        yield infrastructure


@pytest.fixture
async def fragile(breakable: Infrastructure) -> AsyncIterator[Deployment]:
    """A deployment of the test's own, without gateway or worker yet, to be broken."""
    async with deployed(breakable) as running:
        yield running
