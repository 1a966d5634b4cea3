"""The results for the terminal and for a file."""

import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from bench import turnstream
from bench.durability import Durability
from bench.goals import Goal, Results
from bench.measure import Measured
from bench.scenarios import SCENARIOS
from bench.spread import Spread

type Row = tuple[str, ...]


def text(results: Results, durability: Durability | None, goals: Sequence[Goal]) -> str:
    """Return the tables for the terminal."""
    parts = []
    for scenario in SCENARIOS:
        measured = {system: found[scenario.name] for system, found in results.items() if scenario.name in found}
        if measured:
            parts.append(table([(scenario.title, *measured), *_rows(list(measured.values()))]))
    if durability:
        parts.append(table([("steps, recovery, cancels", turnstream.NAME), *durability.rows()]))
    parts.append(table([("goals", "", ""), *((g.name, g.figure, "met" if g.met else "MISSED") for g in goals)]))
    return "\n\n".join(parts)


def table(rows: Sequence[Row]) -> str:
    """Align rows: the first column to the left, figures to the right, a line below the head."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in (lines[0], "-" * len(lines[0]), *lines[1:]))


def document(results: Results, durability: Durability | None, goals: Sequence[Goal], *, quick: bool) -> dict[str, Any]:
    """Return all figures and what they were measured on, for JSON."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"processors": os.cpu_count(), "system": platform.system(), "python": platform.python_version()},
        "llama_stack": version("llama-stack"),
        "turnstream": {"gateways": 1, "workers": 1, "worker_concurrency": turnstream.CONCURRENCY},
        "quick": quick,
        "units": "times in ms; processor time in ms a turn",
        "scenarios": [asdict(scenario) for scenario in SCENARIOS],
        "results": {
            system: {name: _figures(measured) for name, measured in found.items()} for system, found in results.items()
        },
        "durability": durability.figures() if durability else None,
        "goals": [asdict(goal) for goal in goals],
    }


def _figures(measured: Measured) -> dict[str, Any]:
    return {**asdict(measured), "system_ms": measured.system_ms, "turns_per_second": measured.load.rate}


def _rows(systems: Sequence[Measured]) -> Iterator[Row]:
    yield "turns complete", *(f"{each.load.complete} of {each.load.turns}" for each in systems)
    yield "turns a second", *(f"{each.load.rate:.1f}" for each in systems)
    yield "first token, p50 / p99 ms", *(_spread(each.load.first_token) for each in systems)
    if any(each.load.lag for each in systems):
        yield "lag of a token, p50 / p99 ms", *(_spread(each.load.lag) for each in systems)
    yield "processor time, ms a turn", *(f"{each.system_ms:.2f}" for each in systems)
    for name in dict.fromkeys(name for each in systems for name in each.processor_ms):
        yield f"  {name}", *(f"{each.processor_ms[name]:.2f}" if name in each.processor_ms else "" for each in systems)
    yield "not counted: the model", *(f"{each.model_ms:.2f}" for each in systems)
    yield "not counted: the load client", *(f"{each.client_ms:.2f}" for each in systems)
    yield "taken by anything else, of the machine", *(f"{each.disturbance:.0%}" for each in systems)


def _spread(spread: Spread | None) -> str:
    return f"{spread.p50:.1f} / {spread.p99:.1f}" if spread else ""
