"""The loads that are measured."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from bench import turnstream
from bench.llama_stack import server as llama_stack

QUICKER = 5  # a quick run's divisor of turns
PATIENCE = 180.0  # seconds for all turns of a scenario


@dataclass(frozen=True)
class Scenario:
    """One load."""

    name: str
    title: str
    turns: Mapping[str, int]  # by system; one that is not named is not measured
    clients: int  # turns that run at a time
    tokens: int
    delay_ms: int = 0
    stamped: bool = False  # the model sends the time as its tokens, so that their lag can be told

    def quick(self) -> "Scenario":
        """Return the same with fewer turns, but one for each client at least."""
        turns = {system: max(count // QUICKER, self.clients) for system, count in self.turns.items()}
        return replace(self, turns=turns)


SINGLE = Scenario(
    name="single",
    title="1 client, 20 tokens without delay",
    turns={turnstream.NAME: 200, llama_stack.NAME: 100},
    clients=1,
    tokens=20,
)
BUSY = Scenario(
    name="busy",
    title="50 clients, 20 tokens without delay",
    turns={turnstream.NAME: 1500, llama_stack.NAME: 300},
    clients=50,
    tokens=20,
)
PACED = Scenario(
    name="paced",
    title="300 clients, 60 tokens at 30 ms each",
    turns={turnstream.NAME: 300},
    clients=300,
    tokens=60,
    delay_ms=30,
    stamped=True,
)
SCENARIOS = (SINGLE, BUSY, PACED)
