"""Percentiles."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Spread:
    """The middle and the slow end of a set of times, in milliseconds."""

    p50: float
    p99: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Self | None:
        """Summarise times given in seconds; None when there are none."""
        if not seconds:
            return None
        ordered = sorted(seconds)
        return cls(p50=1000 * percentile(ordered, 50), p99=1000 * percentile(ordered, 99))


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the smallest value that so many percent of the values do not exceed (the nearest rank)."""
    rank = math.ceil(len(ordered) * percent / 100)
    return ordered[max(rank, 1) - 1]
