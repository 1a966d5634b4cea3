"""Putting a load on a running system, and the processor time that each process takes for it."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from bench.load import Job, Outcome
from bench.processor_time import processor_seconds
from bench.running import STAND_IN, Running
from bench.scenarios import PATIENCE, Scenario

WARM_UP_TURNS = 100  # one for each client at least
SETTLE = 1.0  # seconds in which what a turn leaves behind is still written, and still counts
STARTUP = 30.0  # seconds for the load client to start, and to read what it has received


class LoadError(Exception):
    """The load could not be put on the system."""


@dataclass(frozen=True)
class Measured:
    """A system under a load."""

    load: Outcome
    processor_ms: Mapping[str, float]  # a turn, of each of the system's processes
    model_ms: float  # a turn, of the stand-in model, which is no part of the system
    client_ms: float  # a turn, of the load client

    @property
    def system_ms(self) -> float:
        """Milliseconds of processor time a turn, of the system as a whole."""
        return sum(self.processor_ms.values())


async def measure(system: Running, scenario: Scenario) -> Measured:
    """Warm the system up, then measure it."""
    turns = scenario.turns[system.name]
    await _put_load(system, scenario, max(WARM_UP_TURNS, scenario.clients))
    await asyncio.sleep(SETTLE)
    before = processor_seconds(system.pids)
    load = await _put_load(system, scenario, turns)
    await asyncio.sleep(SETTLE)
    after = processor_seconds(system.pids)
    taken = {name: 1000 * (after[name] - before[name]) / turns for name in system.pids}
    model = taken.pop(STAND_IN)
    return Measured(load, taken, model_ms=model, client_ms=1000 * load.client_cpu / turns)


async def _put_load(system: Running, scenario: Scenario, turns: int) -> Outcome:
    job = Job(
        port=system.port,
        model=system.model,
        turns=turns,
        clients=scenario.clients,
        tokens=scenario.tokens,
        delay_ms=scenario.delay_ms,
        stamped=scenario.stamped,
        patience=PATIENCE,
    )
    command = (sys.executable, "-m", "bench.load", json.dumps(asdict(job)))
    client = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)
    try:
        async with asyncio.timeout(PATIENCE + STARTUP):
            output, errors = await client.communicate()
    finally:
        if client.returncode is None:
            client.kill()
            await client.wait()
    if client.returncode:
        raise LoadError(f"the load client failed: {errors.decode(errors='replace')}")
    outcome = Outcome.from_json(output.decode())
    if not outcome.complete:
        raise LoadError(f"{system.name} completed none of {turns} turns: {outcome.problem}")
    return outcome
