"""What clients know of the turns that they posted: what they asked for, and all that they read."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from support.reader import Event, Transcript


@dataclass
class Reading(Transcript):
    """One reader's events of a turn, over all its connections, and when each of them came."""

    arrivals: list[float] = field(default_factory=list)  # seconds of the monotonic clock
    attached: bool = False  # whether its reader stays as long as the connection does
    error: str | None = None  # the code of the `error` event that it was ended by

    @property
    def over(self) -> bool:
        """Whether nothing more is to be read."""
        return self.ended or self.error is not None

    async def take(self, lines: AsyncIterator[str]) -> AsyncGenerator[Event]:
        """Write down and yield the events in the lines of an answer."""
        async for line in lines:
            if not line.startswith("data: "):
                continue
            event: Event = json.loads(line.removeprefix("data: "))
            if event["type"] == "error":
                self.error = event["code"]
                return
            self.events.append(event)
            self.arrivals.append(monotonic())
            yield event


@dataclass
class Posted:
    """A turn that a client has asked for, again and again with the same key until it was accepted."""

    key: str  # its Idempotency-Key; stands in its metadata and its text as well
    body: dict[str, Any]
    may_end: set[str] = field(default_factory=lambda: {"completed"})  # statuses
    tokens: int | None = None  # that its last message has to have
    charges: int = 0  # that it may execute, one by each call
    id: str | None = None
    readings: list[Reading] = field(default_factory=list)
    oddities: list[str] = field(default_factory=list)  # answers that nothing explains
    whole: Reading = field(default_factory=Reading)  # its events, read once more after everything
    stored: dict[str, Any] | None = None  # the response as it is retrieved in the end

    @property
    def name(self) -> str:
        """What a finding calls it."""
        return f"{self.id} ({self.key})"

    def reading(self, *, attached: bool = False) -> Reading:
        """Begin to read."""
        reading = Reading(attached=attached)
        self.readings.append(reading)
        return reading

    def accepted_as(self, turn: str) -> None:
        """Take down the id that it was accepted with."""
        if self.id not in {None, turn}:
            self.oddities.append(f"its key has begun {turn} too")
        self.id = self.id or turn


@dataclass
class Talk:
    """A conversation, and the turns that were posted to it."""

    id: str
    turns: list[Posted] = field(default_factory=list)
    items: list[dict[str, Any]] | None = None  # as they are listed in the end


@dataclass
class Record:
    """All that the clients know."""

    turns: list[Posted] = field(default_factory=list)
    talks: list[Talk] = field(default_factory=list)
    listed: list[dict[str, Any]] = field(default_factory=list)  # every response there is in the end
    executions: list[dict[str, Any]] = field(default_factory=list)  # of tools, as the tools counted them
    wiped: bool = False  # whether the events were wiped in between
