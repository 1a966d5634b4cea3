"""A keeper starts its service again, later and later, and gives up one that never works."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from turnstream_local.errors import ChildFailedError, PortTakenError
from turnstream_local.keeper import Keeper, RestartPolicy
from turnstream_local.log_file import LogFile

POLICY = RestartPolicy(first_delay=0.001, max_delay=0.004, healthy_after=60, first_attempts=3)


class Scripted:
    """A service whose starts end as scripted; when the script is over it runs on."""

    name = "scripted"

    def __init__(self, folder: Path, script: list[Exception | None]) -> None:
        self.log = LogFile(folder / "scripted.log")
        self._script = script
        self.running = asyncio.Event()

    async def start(self) -> None:
        """Fail when the script says so."""
        if not self._script:
            self.running.set()
        elif error := self._script[0]:
            self._script.pop(0)
            raise error

    async def wait(self) -> int:
        """Crash as long as the script goes on."""
        if self._script:
            self._script.pop(0)
            return 1
        await asyncio.Event().wait()
        return 0

    async def stop(self) -> bool:
        """Stop in order."""
        return True

    async def kill(self) -> None:
        """Stop at once."""


async def run_until(condition: Callable[[], bool], keeper: Keeper) -> None:
    """Run a keeper until its service runs on."""
    task = asyncio.create_task(keeper.run())
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - the keeper's own steps are waited for
            await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_each_restart_is_one_line_and_waits_longer_up_to_a_cap(tmp_path: Path) -> None:
    """Delays double up to the longest."""
    lines: list[str] = []
    service = Scripted(tmp_path, [None] * 5)
    policy = RestartPolicy(first_delay=0.1, max_delay=0.2)
    keeper = Keeper(service, lines.append, policy)
    await run_until(service.running.is_set, keeper)
    restarts = [line for line in lines if "starting it again" in line]
    assert [line.split(" in ")[1].split(" s")[0] for line in restarts] == ["0.1", "0.2", "0.2", "0.2", "0.2"]
    assert all("scripted exited with code 1" in line for line in restarts)


async def test_a_service_that_was_never_ready_is_given_up(tmp_path: Path) -> None:
    """After the permitted failures in a row the last one is raised."""
    service = Scripted(tmp_path, [ChildFailedError(f"failure {number}") for number in (1, 2, 3)])
    with pytest.raises(ChildFailedError, match=r"failure 3.*3 times in a row"):
        await Keeper(service, ignore, POLICY).run()


async def test_a_service_that_was_ready_once_is_never_given_up(tmp_path: Path) -> None:
    """Failures after the first success are followed by another start, however many there are."""
    service = Scripted(tmp_path, [None, *(ChildFailedError("not ready") for _ in range(8))])
    keeper = Keeper(service, ignore, POLICY)
    await run_until(service.running.is_set, keeper)
    assert keeper.ready.is_set()


async def test_an_error_that_a_restart_cannot_mend_is_raised_at_once(tmp_path: Path) -> None:
    """What is not a child's failure is the operator's to mend."""
    with pytest.raises(PortTakenError):
        await Keeper(Scripted(tmp_path, [PortTakenError("taken")]), ignore, POLICY).run()


def ignore(_line: str) -> None:
    """Take a line, and show it to no one."""
