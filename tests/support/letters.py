"""Dead letters for tests."""

from datetime import UTC, datetime

from turnstream.dead_letter import DeadLetter, Entry
from turnstream.ids import new_id


def a_letter(
    tenant: str, *, turn: str | None = None, attempts: int = 3, steps: list[Entry] | None = None
) -> DeadLetter:
    """Make the letter that a worker files about a turn on which workers died."""
    return DeadLetter(
        turn=turn or new_id("resp_"),
        tenant=tenant,
        code="max_attempts",
        message=f"The turn was begun {attempts} times and never ended.",
        attempts=attempts,
        filed_at=datetime.now(UTC),
        steps=steps or [],
    )
