"""One child process: started, awaited, stopped."""

import asyncio
import os
import signal
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from turnstream_local.account import Account
from turnstream_local.errors import ChildFailedError
from turnstream_local.layout import NOTIFY_SOCKETS, DataDirectory
from turnstream_local.log_file import LogFile
from turnstream_local.orphans import KILL_TIMEOUT, ChildRecord, end_recorded, kill_group
from turnstream_local.readiness import Notified, Readiness


@dataclass(frozen=True)
class Program:
    """What a child runs, and how it is asked to end."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    stop_signal: signal.Signals = signal.SIGTERM
    startup_timeout: float = 60.0  # seconds until it must be ready
    grace: float = 10.0  # seconds between the stop signal and SIGKILL
    directory: Path | None = None  # None: where turnstream was called
    account: Account | None = None  # None: the one that turnstream runs as


class Child:
    """A program as a process in a session of its own, so that the terminal's Ctrl-C reaches only the supervisor.

    Unless another readiness is given, the process is ready when it says so by sd_notify.
    """

    def __init__(self, program: Program, data: DataDirectory, readiness: Readiness | None = None) -> None:
        self.program = program
        self.name = program.name
        self.log = LogFile(data.logs / f"{program.name}.log")
        self._pid_file = data.pids / f"{program.name}.json"
        self._readiness = readiness or Notified(data.sockets(NOTIFY_SOCKETS), program.name)
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """The running process's id."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def start(self) -> None:
        """Start the process and return when it is ready; raise ChildFailedError when it ends or takes too long."""
        await end_recorded(self._pid_file)
        try:
            environment = {**self.program.environment, **self._readiness.listen()}
            process = await self._spawn(environment)
            await self._until_ready(process)
        finally:
            self._readiness.close()

    async def run(self, *, stdin: str = "", timeout: float) -> None:  # noqa: ASYNC109 - bounds the process's life, and ends it
        """Run the process to its end; raise ChildFailedError unless it succeeds in time (seconds)."""
        await end_recorded(self._pid_file)
        process = await self._spawn(self.program.environment, stdin)
        try:
            async with asyncio.timeout(timeout):
                code = await process.wait()
        except TimeoutError:
            raise ChildFailedError(self._with_log(f"did not end within {timeout:.0f} s")) from None
        finally:
            await self.kill()
        if code:
            raise ChildFailedError(self._with_log(exit_text(code)))

    async def wait(self) -> int:
        """Wait until the process ends, clear up after it, and return its exit code (negative: the signal)."""
        assert self._process
        code = await self._process.wait()
        await self.kill()
        return code

    async def stop(self) -> bool:
        """Ask the process to end, and kill it after its grace; return whether it ended by itself."""
        process = self._process
        if process is None:
            return True
        with suppress(ProcessLookupError):
            process.send_signal(self.program.stop_signal)
        with suppress(TimeoutError):
            async with asyncio.timeout(self.program.grace):
                await process.wait()
        in_time = process.returncode is not None
        await self.kill()
        return in_time

    async def kill(self) -> None:
        """Kill the process and all of its group at once."""
        process = self._process
        if process is None:
            return
        kill_group(process.pid)
        async with asyncio.timeout(KILL_TIMEOUT):
            await process.wait()
        self._pid_file.unlink(missing_ok=True)
        self._process = None

    async def _spawn(self, environment: Mapping[str, str], stdin: str = "") -> asyncio.subprocess.Process:
        account = self.program.account
        with self.log.open() as log, _input_file(stdin, account) as given:
            self._process = await asyncio.create_subprocess_exec(
                *self.program.command,
                stdin=given,
                stdout=log,
                stderr=log,
                env=dict(environment),
                cwd=self.program.directory,
                start_new_session=True,
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=[] if account else None,
            )
        record = ChildRecord.of(self._process.pid, self.program.stop_signal, self.program.grace)
        if record:
            record.write(self._pid_file)
        return self._process

    async def _until_ready(self, process: asyncio.subprocess.Process) -> None:
        ready = asyncio.create_task(self._readiness.wait(), name=f"{self.name} ready")
        exited = asyncio.create_task(process.wait(), name=f"{self.name} exited")
        try:
            await asyncio.wait(
                {ready, exited}, timeout=self.program.startup_timeout, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            ready.cancel()
            exited.cancel()
            await asyncio.gather(ready, exited, return_exceptions=True)
        if process.returncode is not None:
            await self.kill()
            raise ChildFailedError(f"{self.name} {exit_text(process.returncode)} before it was ready")
        if ready.cancelled():
            await self.kill()
            raise ChildFailedError(f"{self.name} was not ready within {self.program.startup_timeout:.0f} s")
        ready.result()

    def _with_log(self, what: str) -> str:
        return f"{self.name} {what}; the end of {self.log.path}:\n{self.log.tail()}"


def exit_text(code: int) -> str:
    """Say how a process ended, from its exit code."""
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"exited with code {code}"


def _input_file(text: str, account: Account | None) -> IO[str]:
    # A file without a name: what is given to a child may be a password.
    file = tempfile.TemporaryFile("w+")  # noqa: SIM115 - the caller closes it
    file.write(text)
    file.seek(0)
    if account:
        # A program that opens /dev/stdin by name needs to be allowed to.
        os.fchown(file.fileno(), account.uid, account.gid)
    return file
