"""How long the engine lets a turn take."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from support.engine import engine, turn
from support.kept_steps import KeptSteps
from support.scripted_stack import ScriptedStack
from support.turns import unchallenged

from turnstream.memory import MemoryBus
from turnstream.turns import Item
from turnstream_worker.event_log import EventLog
from turnstream_worker.journal import Journal
from turnstream_worker.log_state import LogState
from turnstream_worker.output import Output

DEADLINE = 20  # seconds; longer than the test takes


class Waiting:
    """Attachments that never come."""

    async def resolve(self, items: list[Item], *, earlier: range) -> list[Item]:  # noqa: ARG002 - of any items
        """Wait."""
        await asyncio.Event().wait()
        return items


async def test_deadline_is_not_begun_again() -> None:
    """A turn's time runs from its acceptance in each attempt: what earlier ones have taken is not given back."""
    accepted = datetime.now(UTC) - timedelta(seconds=DEADLINE)
    asking = replace(turn(deadline=DEADLINE), attempt=2, created_at=accepted)
    output = Output(asking.id, EventLog(MemoryBus(), asking, unchallenged), LogState())
    journal = Journal(KeptSteps(), asking)
    async with asyncio.timeout(DEADLINE / 2):
        outcome = await engine(ScriptedStack(), Waiting()).run(asking, [], output, journal, lambda: False)
    assert outcome is not None
    assert (outcome.status, outcome.incomplete) == ("incomplete", {"reason": "deadline"})
