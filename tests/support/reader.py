"""A client that reads a turn's events, goes away and comes back, and can say what it lost."""

import json
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

TERMINAL = {"response.completed", "response.failed", "response.incomplete"}
TIMEOUT = httpx.Timeout(30, connect=5)  # seconds

type Event = dict[str, Any]


@dataclass
class Transcript:
    """The events of one turn as its reader got them, over all its connections."""

    events: list[Event] = field(default_factory=list)

    @property
    def id(self) -> str:
        """The turn's id."""
        response_id: str = self.events[0]["response"]["id"]
        return response_id

    @property
    def last(self) -> int:
        """The number of the last event; -1 if there is none."""
        return int(self.events[-1]["sequence_number"]) if self.events else -1

    @property
    def ended(self) -> bool:
        """Whether the last event is a terminal one."""
        return bool(self.events) and self.events[-1]["type"] in TERMINAL

    @property
    def response(self) -> dict[str, Any]:
        """The response that the terminal event carries."""
        response: dict[str, Any] = self.events[-1]["response"]
        return response

    def kinds(self) -> list[str]:
        """Return the events' types."""
        return [event["type"] for event in self.events]

    def text_of(self, item: str) -> str:
        """Return what an item's deltas add up to."""
        return "".join(
            event["delta"]
            for event in self.events
            if event["type"] == "response.output_text.delta" and event["item_id"] == item
        )


@dataclass(frozen=True)
class Tally:
    """What went wrong over a number of turns. The claim is that all of it is zero."""

    lost: int  # events that a reader never got
    repeated: int  # events that a reader got twice, or beginnings and ends that came twice
    open: int  # turns without an end, and items that were never closed


NOTHING = Tally(0, 0, 0)


def tally(transcripts: list[Transcript]) -> Tally:
    """Count what readers lost, what was repeated to them, and what was left open."""
    lost = repeated = left_open = 0
    for transcript in transcripts:
        numbers = [event["sequence_number"] for event in transcript.events]
        kinds = transcript.kinds()
        lost += len(set(range(max(numbers, default=0) + 1)) - set(numbers))
        repeated += len(numbers) - len(set(numbers))
        repeated += sum(max(0, kinds.count(once) - 1) for once in ("response.created", "response.in_progress"))
        repeated += max(0, sum(kinds.count(kind) for kind in TERMINAL) - 1)
        added = {event["item"]["id"] for event in transcript.events if event["type"] == "response.output_item.added"}
        done = {event["item"]["id"] for event in transcript.events if event["type"] == "response.output_item.done"}
        left_open += len(added - done) + (not transcript.ended)
    return Tally(lost, repeated, left_open)


async def start(url: str, transcript: Transcript, **body: Any) -> AsyncIterator[Event]:
    """Post a turn and yield its events, which are added to the transcript."""
    async with (
        httpx.AsyncClient(base_url=url, timeout=TIMEOUT) as client,
        client.stream("POST", "/v1/responses", json={"model": "stand-in", **body, "stream": True}) as answer,
    ):
        assert answer.status_code == httpx.codes.OK, await answer.aread()
        async for event in _events(answer, transcript):
            yield event


async def resume(url: str, transcript: Transcript, turn: str | None = None) -> AsyncIterator[Event]:
    """Come back to a turn behind the last event of the transcript, and yield what follows."""
    params = {"stream": "true", "starting_after": str(transcript.last)}
    async with (
        httpx.AsyncClient(base_url=url, timeout=TIMEOUT) as client,
        client.stream("GET", f"/v1/responses/{turn or transcript.id}", params=params) as answer,
    ):
        assert answer.status_code == httpx.codes.OK, await answer.aread()
        async for event in _events(answer, transcript):
            yield event


async def read_to_end(url: str, transcript: Transcript, turn: str | None = None) -> None:
    """Come back to a turn until it has ended, as often as the connection breaks."""
    while not transcript.ended:
        with suppress(httpx.TransportError):
            async for _ in resume(url, transcript, turn):
                pass


async def _events(answer: httpx.Response, transcript: Transcript) -> AsyncIterator[Event]:
    async for line in answer.aiter_lines():
        if line.startswith("data: "):
            event: Event = json.loads(line.removeprefix("data: "))
            transcript.events.append(event)
            yield event
