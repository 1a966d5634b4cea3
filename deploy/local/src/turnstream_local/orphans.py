"""Processes that a killed supervisor left behind: found again by pid and start time, and ended."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import psutil

SAME_START = 2.0  # seconds; a start time is derived from the clock, which may be set a little in between
KILL_TIMEOUT = 10.0  # seconds until a killed process must be gone
POLL = 0.02  # seconds


@dataclass(frozen=True)
class ChildRecord:
    """What it takes to end a child without being its parent."""

    pid: int
    create_time: float  # seconds since the epoch
    stop_signal: int
    grace: float  # seconds between the stop signal and SIGKILL

    @classmethod
    def of(cls, pid: int, stop_signal: int, grace: float) -> Self | None:
        """Describe a running process; None when it is gone already."""
        try:
            return cls(pid, psutil.Process(pid).create_time(), stop_signal, grace)
        except psutil.NoSuchProcess:
            return None

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Read a record; None when there is none, or when it was cut short by a crash."""
        try:
            return cls(**json.loads(path.read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def write(self, path: Path) -> None:
        """Write the record."""
        path.write_text(json.dumps(asdict(self)))

    def process(self) -> psutil.Process | None:
        """Return the process, unless it is gone or its pid now belongs to another."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.create_time) < SAME_START
        except psutil.NoSuchProcess:
            return None
        return process if same and not has_ended(process) else None


async def end_recorded(path: Path) -> int | None:
    """End the process that a record names, as its supervisor would have; return its pid if it still ran."""
    record = ChildRecord.read(path)
    process = record.process() if record else None
    if record and process:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(record.stop_signal)
        if not await until(lambda: has_ended(process), record.grace):
            with suppress(psutil.NoSuchProcess):
                process.kill()
            await until(lambda: has_ended(process), KILL_TIMEOUT)
        kill_group(process.pid)
    path.unlink(missing_ok=True)  # noqa: ASYNC240 - a small local file
    return process.pid if process else None


async def kill_all(processes: Iterable[psutil.Process]) -> None:
    """Kill processes, and wait until they are gone."""
    killed = list(processes)
    for process in killed:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    await until(lambda: all(has_ended(process) for process in killed), KILL_TIMEOUT)


def working_in(directory: Path, program: str) -> list[psutil.Process]:
    """Return the processes of a program that have a directory as their working directory."""
    found = []
    for process in psutil.process_iter(["name"]):
        if (process.info["name"] or "").startswith(program):
            with suppress(psutil.Error):  # gone meanwhile, or someone else's
                if Path(process.cwd()) == directory.resolve() and not has_ended(process):
                    found.append(process)
    return found


def kill_group(leader: int) -> None:
    """Kill what is left of a child's process group: a worker may have started tools of its own."""
    with suppress(ProcessLookupError, PermissionError):  # macOS refuses a group of zombies
        os.killpg(leader, signal.SIGKILL)


def has_ended(process: psutil.Process) -> bool:
    """Tell whether a process runs no more; a zombie that its new parent does not reap has ended too."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def until(condition: Callable[[], bool], timeout: float) -> bool:  # noqa: ASYNC109 - a result, not an exception
    """Wait until a condition holds; return whether it did within the timeout, in seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= deadline:
            return False
        await asyncio.sleep(POLL)
    return True
