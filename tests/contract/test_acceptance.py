"""What a client is told of a turn whose acceptance went wrong is what has become of it."""

from collections.abc import Sequence
from typing import Any, cast

import pytest
from support.stored import TENANT, accept, claim, conversation, finish

from turnstream.database import Database
from turnstream.errors import BusUnavailableError, StoreUnavailableError, UnavailableError
from turnstream.memory import MemoryBus
from turnstream.store import Store
from turnstream_gateway.models import Models
from turnstream_gateway.questions import Asked, Questions
from turnstream_gateway.requests import CreateResponse
from turnstream_gateway.settings import GatewaySettings
from turnstream_gateway.turns import Sent, Turns

SETTINGS = GatewaySettings.model_validate({"nats_url": "nats://unused", "postgres_dsn": "postgresql://unused"})


class AnyModel:
    """A list of models that holds each."""

    async def check(self, _: str) -> None:
        """Find it."""


class AnyQuestion:
    """A reader of questions that are right."""

    async def read(self, *_: Any) -> Asked:
        """Return one without items."""
        return Asked({"model": "m"}, [], None)


def turns_of(bus: MemoryBus, store: Store) -> Turns:
    """Return a gateway's turns on these."""
    return Turns(bus, store, cast("Models", AnyModel()), cast("Questions", AnyQuestion()), SETTINGS)


class DeafBus(MemoryBus):
    """A bus whose answers do not come, though it has queued the turn; a worker claims it meanwhile, and may end it."""

    def __init__(self, store: Store, *, ends: bool) -> None:
        super().__init__()
        self._kept_in = store
        self._ends = ends

    async def enqueue(self, tenant: str, turn: str, message_id: str, *, patience: float) -> None:
        """Queue a turn, and lose the answer."""
        await super().enqueue(tenant, turn, message_id, patience=patience)
        queued = await self._kept_in.turn(tenant, turn)
        assert queued
        claimed = await claim(self._kept_in, queued)
        if self._ends:
            await finish(self._kept_in, claimed, "done")
        raise BusUnavailableError("no answer")


@pytest.mark.parametrize("ends", [False, True])
async def test_turn_that_a_worker_has(store: Store, *, ends: bool) -> None:
    """A turn that runs or has ended is accepted, although the queue did not answer: refused, it would be sent again."""
    turn = await accept(store, "a")
    await turns_of(DeafBus(store, ends=ends), store).enqueue(TENANT, turn.id)
    found = await store.turn(TENANT, turn.id)
    assert found
    assert found.status == ("completed" if ends else "running")


class StumblingStore(Store):
    """A store that is away when a line is to be ended, once."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._stumbled = False

    async def cancel_line(self, tenant: str, turns: Sequence[str], *, keep: bool) -> list[str]:
        """Be away at first."""
        if not self._stumbled:
            self._stumbled = True
            raise StoreUnavailableError("away")
        return await super().cancel_line(tenant, turns, keep=keep)


@pytest.mark.parametrize(
    ("first", "again"),
    [
        (Sent(b"body", "key", again=False, provider_data=None), Sent(b"body", "key", again=True, provider_data=None)),
        (Sent(b"body", None, again=False, provider_data=None), Sent(b"body", None, again=True, provider_data=None)),
    ],
    ids=["with a key", "by the client's library"],
)
async def test_interruption_that_is_sent_again(database: Database, first: Sent, again: Sent) -> None:
    """A turn that stands in line and could not end those before it does so when it is sent again, and stands once."""
    store = StumblingStore(database)
    turns = turns_of(MemoryBus(), store)
    line = await conversation(store)
    running = await claim(store, await accept(store, "a", conversation=line))
    body = CreateResponse.model_validate({"model": "m", "conversation": line, "on_busy": "interrupt"})
    with pytest.raises(UnavailableError) as told:
        await turns.accept(TENANT, body, first)
    assert told.value.code == "acceptance_unknown"
    relay, new = await turns.accept(TENANT, body, again)
    await relay.__aexit__(None, None, None)
    assert not new
    interrupted = await store.turn(TENANT, running.id)
    assert interrupted
    assert interrupted.status == "cancelled"
    standing = await store.turn(TENANT, relay.turn)
    assert standing
    assert standing.status == "queued"
