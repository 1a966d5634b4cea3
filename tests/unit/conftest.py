"""What several of these tests use."""

from collections.abc import AsyncIterator

import httpx
import pytest
from support.stand_in import client_of

from turnstream_gateway import relay
from turnstream_local.stand_in.app import StandIn
from turnstream_worker import model_calls


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """Make a client of a fresh stand-in in this process."""
    async with client_of(StandIn()) as made:
        yield made


@pytest.fixture
def no_pause_between_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make no pause between two tries, but for what a provider asks for."""
    monkeypatch.setattr(model_calls, "FIRST_PAUSE", 0)


@pytest.fixture
def no_pause_between_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A replica that is behind is asked again at once."""
    monkeypatch.setattr(relay, "CATCH_UP_PAUSE", 0)
