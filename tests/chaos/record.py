"""What clients know of the turns that they posted: what they asked for, and all that they read."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from support.reader import Event, Transcript

ENDED = {"completed", "failed", "incomplete", "cancelled"}


@dataclass
class Reading(Transcript):
    """One reader's events of a turn, over all its connections, and when each of them came."""

    lines: list[str] = field(default_factory=list)  # the events as they came
    arrivals: list[float] = field(default_factory=list)  # seconds of the monotonic clock
    attached: bool = False  # whether its reader stays as long as the connection does
    error: str | None = None  # the code of the `error` event that it was ended by

    @property
    def over(self) -> bool:
        """Whether nothing more is to be read."""
        return self.ended or self.error is not None

    async def take(self, lines: AsyncIterator[str], *, again: bool) -> AsyncGenerator[Event]:
        """Write down and yield the events in the lines of an answer, but for those that it begins with `again`."""
        known = iter(self.events.copy() if again else ())
        async for line in lines:
            if not line.startswith("data: "):
                continue
            event: Event = json.loads(line.removeprefix("data: "))
            if event["type"] == "error":
                self.error = event["code"]
                return
            if event == next(known, None):
                continue
            self.events.append(event)
            self.lines.append(line)
            self.arrivals.append(monotonic())
            yield event


@dataclass
class Posted:
    """A turn that a client has asked for, again and again with the same key until it was accepted."""

    key: str  # its Idempotency-Key; stands in its metadata and its text as well
    body: dict[str, Any]
    may_end: set[str] = field(default_factory=lambda: {"completed"})  # statuses
    tokens: int | None = None  # that its last message has to have
    calls: int | None = None  # of an MCP server's tools that it has to show
    charges: int = 0  # that it may execute, one by each call
    id: str | None = None
    readings: list[Reading] = field(default_factory=list)
    left: float | None = None  # when its readers went for good, in seconds of the monotonic clock
    oddities: list[str] = field(default_factory=list)  # answers that nothing explains
    whole: Reading = field(default_factory=Reading)  # its events, read once more after everything
    stored: dict[str, Any] | None = None  # the response as it is retrieved in the end

    @property
    def name(self) -> str:
        """What a finding calls it."""
        return f"{self.id} ({self.key})"

    @property
    def unstored(self) -> bool:
        """Whether nothing of it is to be kept."""
        return self.body.get("store") is False

    @property
    def on_uncertain(self) -> str | None:
        """What it has asked to do with calls whose end is not known."""
        return next((tool.get("on_uncertain") for tool in self.body.get("tools", ())), None)

    @property
    def ended(self) -> dict[str, Any] | None:
        """The response that it ended with: as it is stored or, if it is not to be, as its reader was told."""
        told = next((reading.response for reading in self.readings if reading.ended), None)
        response = told if self.unstored else self.stored
        return response if response and response.get("status") in ENDED else None

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
    in_order: bool = True  # whether each turn was accepted before the next one was posted
    items: list[dict[str, Any]] | None = None  # as they are listed in the end


@dataclass(frozen=True)
class Broken:
    """What was broken, and for how long, in seconds of the monotonic clock."""

    target: str
    how: str
    at: float
    until: float


@dataclass
class Record:
    """All that the clients know, and what was broken meanwhile."""

    turns: list[Posted] = field(default_factory=list)
    talks: list[Talk] = field(default_factory=list)
    crowds: dict[str, set[str]] = field(default_factory=dict)  # turns seen to run at a time in one conversation
    listed: list[dict[str, Any]] = field(default_factory=list)  # every response there is in the end
    letters: list[dict[str, Any]] = field(default_factory=list)  # every dead letter
    executions: list[dict[str, Any]] = field(default_factory=list)  # of tools, as the tools counted them
    broken: list[Broken] = field(default_factory=list)
    kills: list[float] = field(default_factory=list)  # of workers, with nothing else broken; by the monotonic clock

    @property
    def wiped(self) -> float | None:
        """When NATS had lost all that it held, by the monotonic clock; None if it has not."""
        return max((fault.until for fault in self.broken if fault.how == "wipe"), default=None)
