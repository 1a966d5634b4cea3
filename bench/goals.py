"""What Turnstream has to reach, and whether it did."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bench import turnstream
from bench.durability import Durability
from bench.llama_stack import server as llama_stack
from bench.measure import Measured
from bench.scenarios import BUSY, PACED, SINGLE

FASTER = 5.0  # times Llama Stack's turns a second
CHEAPER = 1 / 3  # of Llama Stack's processor time a turn
PACED_FIRST_TOKEN = 500.0  # ms
PACED_LAG = 250.0  # ms
JOURNAL = 2.0  # ms
RECOVERY = 3000.0  # ms
CANCEL = 200.0  # ms

type Results = Mapping[str, Mapping[str, Measured]]
"""By system, then by scenario."""


@dataclass(frozen=True)
class Goal:
    """One goal."""

    name: str
    figure: str
    met: bool


def goals(results: Results, durability: Durability | None = None) -> list[Goal]:
    """Judge what was measured; a goal whose figures are not there is left out."""
    ours, theirs = results.get(turnstream.NAME, {}), results.get(llama_stack.NAME, {})
    found = [*_complete(ours), *_first_token(ours, theirs), *_busy(ours, theirs), *_paced(ours)]
    return [*found, *(_durable(durability) if durability else ())]


def _durable(durability: Durability) -> Iterator[Goal]:
    journal, recovery, cancel = durability.journal_cpu_ms, durability.recovery.p95, durability.cancel.p95
    yield Goal(f"journal at most {JOURNAL:g} ms of processor time a step", f"{journal:.2f} ms", journal <= JOURNAL)
    yield Goal(f"recovery p95 at most {RECOVERY:g} ms", f"{recovery:.0f} ms", recovery <= RECOVERY)
    yield Goal(f"cancel p95 below {CANCEL:g} ms", f"{cancel:.0f} ms", cancel < CANCEL)


def _complete(ours: Mapping[str, Measured]) -> Iterator[Goal]:
    if ours:
        complete, turns = sum(m.load.complete for m in ours.values()), sum(m.load.turns for m in ours.values())
        yield Goal("every turn complete", f"{complete} of {turns}", complete == turns)


def _first_token(ours: Mapping[str, Measured], theirs: Mapping[str, Measured]) -> Iterator[Goal]:
    for scenario in (SINGLE, BUSY):
        if scenario.name in ours and scenario.name in theirs:
            own, other = ours[scenario.name].load.first_token, theirs[scenario.name].load.first_token
            if own and other:
                name = f"first token p50 below Llama Stack's, {scenario.clients} at a time"
                yield Goal(name, f"{own.p50:.1f} ms, {other.p50:.1f} ms", own.p50 < other.p50)


def _busy(ours: Mapping[str, Measured], theirs: Mapping[str, Measured]) -> Iterator[Goal]:
    if BUSY.name in ours and BUSY.name in theirs:
        own, other = ours[BUSY.name], theirs[BUSY.name]
        faster, share = own.load.rate / other.load.rate, own.system_ms / other.system_ms
        yield Goal(f"turns a second at least {FASTER:g} times Llama Stack's", f"{faster:.1f} times", faster >= FASTER)
        yield Goal("processor time a turn at most a third of Llama Stack's", f"{share:.2f} of it", share <= CHEAPER)


def _paced(ours: Mapping[str, Measured]) -> Iterator[Goal]:
    load = ours[PACED.name].load if PACED.name in ours else None
    if load and load.first_token and load.lag:
        first, lag = load.first_token.p50, load.lag.p99
        yield Goal(
            f"300 paced streams: first token p50 below {PACED_FIRST_TOKEN:g} ms",
            f"{first:.0f} ms",
            first < PACED_FIRST_TOKEN,
        )
        yield Goal(f"300 paced streams: lag p99 below {PACED_LAG:g} ms", f"{lag:.0f} ms", lag < PACED_LAG)
