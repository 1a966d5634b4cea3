"""`python -m bench`: measure, print the tables, write the figures."""

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from bench import report, turnstream
from bench.durability import Durability, measure_durability
from bench.errors import BenchError
from bench.goals import Results, goals
from bench.llama_stack import server as llama_stack
from bench.measure import Measured, measure
from bench.profile import profile
from bench.running import Running
from bench.scenarios import BUSY, SCENARIOS, Scenario
from turnstream_local.errors import LocalError

RESULTS = Path(__file__).with_name("results")
DURABILITY = "durability"
SYSTEMS = (turnstream.NAME, llama_stack.NAME)


def main() -> None:
    """Do what the command line says."""
    options = _parser().parse_args()
    out: Path = options.out
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        if options.profile:
            asyncio.run(_until_told_to_stop(_profile(options, out)))
        else:
            results, durability = asyncio.run(_until_told_to_stop(_measure_all(options)))
            _publish(results, durability, out, quick=options.quick)
    except (LocalError, BenchError) as error:
        sys.exit(f"bench: {error}")
    except (asyncio.CancelledError, KeyboardInterrupt):
        sys.exit("bench: stopped")


async def _until_told_to_stop[T](work: Coroutine[Any, Any, T]) -> T:
    """Work; SIGTERM ends it as Ctrl-C does, with everything that was started."""
    task = asyncio.create_task(work)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


async def _profile(options: argparse.Namespace, out: Path) -> None:
    scenario = next(scenario for scenario in SCENARIOS if scenario.name == (options.only or BUSY.name))
    await profile(options.profile, scenario, out.with_name(f"{options.profile}.prof"))


async def _measure_all(options: argparse.Namespace) -> tuple[Results, Durability | None]:
    scenarios = [scenario for scenario in SCENARIOS if options.only in (None, scenario.name)]
    systems = options.system or SYSTEMS
    results = {name: await _measured(name, scenarios, quick=options.quick) for name in systems if scenarios}
    if turnstream.NAME not in systems or options.only not in (None, DURABILITY):
        return results, None
    print("  measuring: steps, recovery, cancels", flush=True)
    return results, await measure_durability()


async def _measured(name: str, scenarios: Sequence[Scenario], *, quick: bool) -> dict[str, Measured]:
    wanted = [scenario.quick() if quick else scenario for scenario in scenarios if name in scenario.turns]
    measured = {}
    if wanted:
        print(f"{name}:", flush=True)
        async with _system(name) as system:
            for scenario in wanted:
                print(f"  measuring: {scenario.title}", flush=True)
                measured[scenario.name] = await measure(system, scenario)
    return measured


def _system(name: str) -> AbstractAsyncContextManager[Running]:
    if name == turnstream.NAME:
        return turnstream.turnstream(turnstream.measured_commands())
    return llama_stack.llama_stack()


def _publish(results: Results, durability: Durability | None, out: Path, *, quick: bool) -> None:
    judged = goals(results, durability)
    print(f"\n{report.text(results, durability, judged)}\n")
    out.write_text(json.dumps(report.document(results, durability, judged, quick=quick), indent=2) + "\n")
    print(f"all figures: {out}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure Turnstream and plain Llama Stack.")
    parser.add_argument("--quick", action="store_true", help="fewer turns, rougher figures")
    parser.add_argument("--out", type=Path, default=RESULTS / "latest.json", help="the file for all figures")
    parser.add_argument("--only", choices=[*(scenario.name for scenario in SCENARIOS), DURABILITY], help="one of them")
    parser.add_argument("--system", choices=SYSTEMS, action="append", help="one system (default: both)")
    parser.add_argument("--profile", choices=turnstream.PROFILED, help="say where a process spends its time instead")
    return parser


if __name__ == "__main__":
    main()
