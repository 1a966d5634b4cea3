"""Turns for tests that have no store, and what a log on the bus in memory holds."""

from datetime import UTC, datetime
from typing import Any

from turnstream import subjects
from turnstream.events import decode
from turnstream.memory import MemoryBus
from turnstream.turns import Turn


def a_turn(attempt: int = 1) -> Turn:
    """Make a turn that an attempt has claimed."""
    return Turn(
        id="resp_1",
        tenant="default",
        status="running",
        conversation=None,
        previous=None,
        request={"model": "m"},
        input=[],
        output=None,
        usage=None,
        error=None,
        incomplete=None,
        attempt=attempt,
        handovers=0,
        stored=True,
        kept=False,
        secrets=None,
        service_tier=None,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        completed_at=None,
    )


async def unchallenged() -> None:
    """Check a claim that no later attempt has made void."""


SUBJECT = subjects.events("default", "resp_1")


async def batches_of(bus: MemoryBus) -> list[list[dict[str, Any]]]:
    """Return the events of the turn's log, batch by batch."""
    return [[decode(line) for line in stored.batch.lines] async for stored in bus.replay(SUBJECT, 0)]


async def events_of(bus: MemoryBus) -> list[dict[str, Any]]:
    """Return the events of the turn's log."""
    return [event for batch in await batches_of(bus) for event in batch]
