"""What several of these tests ask."""

from collections.abc import AsyncIterator

import httpx
import pytest
from support.stand_in import client_of

from turnstream_local.stand_in.app import StandIn


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """Make a client of a fresh stand-in in this process."""
    async with client_of(StandIn()) as made:
        yield made
