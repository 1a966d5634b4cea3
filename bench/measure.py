"""Putting a load on a running system, and the processor time that each process takes for it."""

import asyncio
import json
import os
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from bench.errors import LoadError
from bench.load import Job, Outcome
from bench.processor_time import machine_seconds, processor_seconds
from bench.running import STAND_IN, Running
from bench.scenarios import PATIENCE, Scenario

WARM_UP_TURNS = 100  # one for each client at least
SETTLE = 1.0  # seconds in which what a turn leaves behind is still written, and still counts
STARTUP = 30.0  # seconds for the load client to start, and to read what it has received


@dataclass(frozen=True)
class Measured:
    """A system under a load."""

    load: Outcome
    processor_ms: Mapping[str, float]  # a turn, of each of the system's processes
    model_ms: float  # a turn, of the stand-in model, which is no part of the system
    client_ms: float  # a turn, of the load client
    disturbance: float  # share of the machine's processors that went to anything else meanwhile

    @property
    def system_ms(self) -> float:
        """Milliseconds of processor time a turn, of the system as a whole."""
        return sum(self.processor_ms.values())


async def measure(system: Running, scenario: Scenario) -> Measured:
    """Warm the system up, then measure it."""
    turns = scenario.turns[system.name]
    await _put_load(system, scenario, max(WARM_UP_TURNS, scenario.clients))
    await asyncio.sleep(SETTLE)
    started, before, machine_before = time.monotonic(), processor_seconds(system.pids), machine_seconds()
    load = await _put_load(system, scenario, turns)
    await asyncio.sleep(SETTLE)
    after, machine, elapsed = processor_seconds(system.pids), machine_seconds(), time.monotonic() - started
    taken = {name: after[name] - before[name] for name in system.pids}
    others = machine - machine_before - sum(taken.values()) - load.client_cpu
    a_turn = {name: 1000 * seconds / turns for name, seconds in taken.items()}
    return Measured(
        load,
        model_ms=a_turn.pop(STAND_IN),
        processor_ms=a_turn,
        client_ms=1000 * load.client_cpu / turns,
        disturbance=max(0.0, others / (elapsed * (os.cpu_count() or 1))),
    )


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
