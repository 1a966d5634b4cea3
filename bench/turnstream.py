"""Turnstream under test: one gateway, one worker, NATS and PostgreSQL."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bench.running import STAND_IN, Running, recorded_pids
from turnstream_local.layout import temporary_data_directory
from turnstream_local.ports import free_port
from turnstream_local.programs import Commands
from turnstream_local.system import Options, System

NAME = "turnstream"
CONCURRENCY = 300  # turns that the worker runs at a time
PROFILED = ("worker", "gateway")


@asynccontextmanager
async def turnstream(commands: Commands) -> AsyncIterator[Running]:
    """Run Turnstream on a data directory of its own, removed at the end."""
    port = free_port()
    with temporary_data_directory() as data_dir:
        system = System(Options(data_dir, port, workers=1, stand_in=True, commands=commands), _report)
        with system.locked():
            try:
                await system.start()
                yield Running(NAME, port, STAND_IN, recorded_pids(data_dir))
            finally:
                await system.stop()


def measured_commands() -> Commands:
    """Return the commands of Turnstream's processes, the worker's with room for every client at once."""
    return Commands(worker=_worker(()))


def profiled_commands(process: str, output: Path) -> Commands:
    """Return the commands with one process under Python's profiler, which writes its profile when the process ends."""
    profiler = ("-m", "cProfile", "-o", str(output.absolute()))
    if process == "worker":
        return Commands(worker=_worker(profiler))
    gateway = (sys.executable, *profiler, "-m", "turnstream_gateway")
    return Commands(worker=_worker(()), gateway=gateway)


def _worker(before: tuple[str, ...]) -> tuple[str, ...]:
    return ("env", f"TURNSTREAM_CONCURRENCY={CONCURRENCY}", sys.executable, *before, "-m", "turnstream_worker")


def _report(line: str) -> None:
    print(f"  {line}", flush=True)
