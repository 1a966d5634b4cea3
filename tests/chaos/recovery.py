"""How long the turns of a killed worker stood still, as their readers saw it."""

from collections.abc import Iterator

from chaos.record import Posted, Reading

IN_FLIGHT = 0.3  # seconds in which what the worker sent before may still come
PERCENT = 95


def recoveries(turns: list[Posted], kills: list[float]) -> list[float]:
    """Return, in seconds, how long after a worker's kill the first new event of each of its turns came, however late.

    The kills are those that found nothing else broken, and that nothing else followed for a while, in seconds of the
    monotonic clock. A turn was the worker's if its next event is one that only a successor writes; of turns that no
    reader was attached to, or that the kill did not find in the middle of an item, nothing is known. One that stood
    still over several kills counts from the first.
    """
    return [
        came - min(during)
        for posted in turns
        for reading in posted.readings
        if reading.attached and reading.ended and reading.response["status"] != "cancelled"
        for place in _takeovers(reading)
        for last, came in [reading.arrivals[place - 1 : place + 1]]
        if (during := [kill for kill in kills if last <= kill + IN_FLIGHT and kill < came])
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
