"""Where a process spends its time under a load."""

import pstats
from pathlib import Path

from bench.measure import measure
from bench.scenarios import Scenario
from bench.turnstream import profiled_commands, turnstream

LINES = 40
OURS = r"/src/turnstream"


async def profile(process: str, scenario: Scenario, output: Path) -> None:
    """Run Turnstream with one process under the profiler, put the load on it, and print the costliest functions."""
    async with turnstream(profiled_commands(process, output)) as system:
        await measure(system, scenario)
    statistics = pstats.Stats(str(output))
    statistics.sort_stats(pstats.SortKey.TIME).print_stats(LINES)
    statistics.sort_stats(pstats.SortKey.CUMULATIVE).print_stats(OURS, LINES)
    print(f"all of it: {output}")
