"""The local system's supervisor: children are restarted, given up, and stopped in order."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from support.local_processes import DEADLINE, STUB, alive

from turnstream_local.child import Child, Program
from turnstream_local.errors import ChildFailedError
from turnstream_local.keeper import RestartPolicy
from turnstream_local.layout import DataDirectory
from turnstream_local.supervisor import Supervisor


async def until(condition: Callable[[], bool]) -> None:
    """Return when a condition holds."""
    async with asyncio.timeout(DEADLINE):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in other processes
            await asyncio.sleep(0.02)


def stub_child(data_dir: Path, name: str, script: str = STUB) -> Child:
    """Make a child that runs a script."""
    data = DataDirectory(data_dir)
    data.create()
    path = data_dir / f"{name}.py"
    path.write_text(script)
    return Child(Program(name, (sys.executable, str(path), "worker"), {"PATH": os.environ["PATH"]}), data)


async def test_supervisor_restarts_a_crashed_child_and_says_so(data_dir: Path) -> None:
    """A killed child runs again under another pid, with one line about it."""
    lines: list[str] = []
    supervisor = Supervisor(lines.append, RestartPolicy(first_delay=0.01))
    child = stub_child(data_dir, "crashing")
    await supervisor.start([child])
    try:
        first = child.pid
        assert first
        os.kill(first, signal.SIGKILL)
        await until(lambda: sum("is ready" in line for line in lines) == 2)
        assert child.pid not in (None, first)
        assert [line for line in lines if "SIGKILL" in line and "starting it again" in line]
    finally:
        await supervisor.stop()
    assert child.pid is None


async def test_supervisor_gives_up_a_child_that_is_never_ready(data_dir: Path) -> None:
    """A child that fails each time ends the start with an error that holds the end of its log."""
    supervisor = Supervisor(lambda _line: None, RestartPolicy(first_delay=0.001, first_attempts=3))
    child = stub_child(data_dir, "failing", "raise SystemExit('no such setting')")
    try:
        with pytest.raises(ChildFailedError, match=r"(?s)failing exited with code 1.*3 times.*no such setting"):
            await supervisor.start([child])
    finally:
        await supervisor.stop()


async def test_supervisor_stops_the_last_started_group_first(data_dir: Path) -> None:
    """Groups stop in the reverse of their order."""
    lines: list[str] = []
    supervisor = Supervisor(lines.append)
    await supervisor.start([stub_child(data_dir, "store")], [stub_child(data_dir, "door")])
    await supervisor.stop()
    assert [line.split()[0] for line in lines if "stopped" in line] == ["door", "store"]


async def test_child_that_ignores_its_stop_signal_is_killed(data_dir: Path) -> None:
    """After its grace a child is killed, and what it started with it."""
    data = DataDirectory(data_dir)
    data.create()
    script = "trap '' TERM; sleep 600 & while :; do sleep 600; done"
    program = Program("deaf", ("/bin/sh", "-c", script), {"PATH": os.environ["PATH"]}, grace=0.1)
    child = Child(program, data, ReadyAtOnce())
    await child.start()
    process = psutil.Process(child.pid)
    await until(lambda: bool(process.children()))
    started = process.children()
    assert await child.stop() is False
    await until(lambda: not any(alive(one) for one in [process, *started]))


class ReadyAtOnce:
    """A readiness that waits for nothing."""

    def listen(self) -> dict[str, str]:
        """Add nothing to the environment."""
        return {}

    async def wait(self) -> None:
        """Be ready."""

    def close(self) -> None:
        """Hold nothing."""
