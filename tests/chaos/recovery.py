"""How long the turns of a killed worker stood still, as their readers saw it."""

from collections.abc import Iterator
from dataclasses import dataclass

from chaos.record import Posted, Reading

IN_FLIGHT = 0.3  # seconds in which what the worker sent before may still come
PERCENT = 95


@dataclass(frozen=True)
class Kill:
    """A worker that was killed while nothing else was broken; in seconds of the monotonic clock."""

    at: float
    until: float  # when the next thing was broken, or all had ended


def recoveries(turns: list[Posted], kills: list[Kill]) -> list[float]:
    """Return, in seconds, how long after each kill the first new event of each of its worker's turns came.

    A turn was the worker's if its next event is one that only a successor writes; of turns that no reader was attached
    to, or that the kill did not find in the middle of an item, nothing is known.
    """
    return [
        reading.arrivals[place] - kill.at
        for kill in kills
        for posted in turns
        for reading in posted.readings
        if reading.attached and reading.ended and reading.response["status"] != "cancelled"
        for place in _takeovers(reading)
        if reading.arrivals[place - 1] <= kill.at + IN_FLIGHT and kill.at < reading.arrivals[place] <= kill.until
    ]


def percentile(seconds: list[float]) -> float | None:
    """Return the 95th percentile, by nearest rank; None of nothing."""
    if not seconds:
        return None
    return sorted(seconds)[max(0, -(-len(seconds) * PERCENT // 100) - 1)]


def _takeovers(reading: Reading) -> Iterator[int]:
    """Yield the places of the events with which a new attempt begins to close what the one before left open."""
    for event in reading.events:
        if event["type"] == "response.output_item.done" and event["item"].get("status") == "incomplete":
            yield next(
                place
                for place, closing in enumerate(reading.events)
                if closing is event
                or (closing["type"].endswith("text.done") and closing["item_id"] == event["item"]["id"])
            )
