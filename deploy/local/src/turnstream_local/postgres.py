"""PostgreSQL 18 on a private unix socket."""

import asyncio
import os
import shutil
import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import psutil

from turnstream_local.account import Account
from turnstream_local.child import Child, Program
from turnstream_local.errors import NothingThereError
from turnstream_local.layout import POSTGRES_SOCKETS, DataDirectory
from turnstream_local.log_file import LogFile
from turnstream_local.orphans import kill_all, until, working_in
from turnstream_local.passwords import kept_passwords
from turnstream_local.postgres_program import copied_binaries, installed_binaries
from turnstream_local.readiness import Polled

SUPERUSER = "postgres"
APPLICATION = "turnstream"  # the role, and the database that it owns
PASSWORDS = "passwords.json"
INIT_TIMEOUT = 60.0  # seconds
STOP_GRACE = 20.0  # seconds for a fast shutdown, which writes a checkpoint
READY_LINE = 7  # of postmaster.pid, counted from 0: the status, as pg_ctl reads it

SETTINGS = {
    # A unix socket in a private directory, and no TCP: a query costs less on both sides, and no port can be taken.
    "listen_addresses": "",
    "port": "5432",  # only the socket's name
    "unix_socket_permissions": "0700",
    "max_connections": "300",
    "shared_buffers": "128MB",
    "fsync": "on",
    "synchronous_commit": "on",
    "jit": "off",  # pays for itself only in queries far longer than ours
    "logging_collector": "off",  # the log is ours to bound
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class Postgres:
    """A PostgreSQL server whose cluster lies in a data directory."""

    name = "postgres"

    def __init__(self, data_dir: Path, *, settings: Mapping[str, str] | None = None) -> None:
        self._data = DataDirectory(data_dir)
        self._settings = {**SETTINGS, **(settings or {})}
        self._account = Account.for_servers()
        self._sockets = self._data.sockets(POSTGRES_SOCKETS, self._account)
        self._cluster = self._data.postgres / "cluster"
        self._passwords: dict[str, str] = {}
        self.log = LogFile(self._data.logs / f"{self.name}.log")
        self._child: Child | None = None

    @property
    def pid(self) -> int | None:
        """The process id of the running server's first process."""
        return self._child.pid if self._child else None

    @property
    def dsn(self) -> str:
        """The address with the credentials of the application's role, which is no superuser."""
        return self._dsn(APPLICATION, APPLICATION)

    @property
    def superuser_dsn(self) -> str:
        """The address with the superuser's credentials, for an operator."""
        return self._dsn(SUPERUSER, SUPERUSER)

    def prepare(self) -> None:
        """Make the directories and the passwords, after which the address is known."""
        self._data.create()
        if self._account:
            self._account.check_reaches(self._data.postgres)
        self._sockets.create()
        self._passwords = kept_passwords(self._data.postgres / PASSWORDS, (SUPERUSER, APPLICATION))

    async def start(self) -> None:
        """Start the server, creating its cluster first if there is none; return when it accepts clients."""
        self.prepare()
        binaries = await asyncio.to_thread(self._binaries)
        await self._end_leftovers()
        if not self._cluster.exists():
            await self._create_cluster(binaries)
        options = [option for name, value in self._settings.items() for option in ("-c", f"{name}={value}")]
        self._child = Child(
            Program(
                name=self.name,
                command=(
                    str(binaries / "postgres"),
                    *("-D", str(self._cluster)),
                    *("-c", f"unix_socket_directories={self._sockets.path}"),
                    *options,
                ),
                environment={"TZ": "UTC"},
                stop_signal=signal.SIGINT,  # a fast shutdown: clients are cut off, nothing is lost
                grace=STOP_GRACE,
                directory=self._cluster,
                account=self._account,
            ),
            self._data,
            Polled(self._accepts),
        )
        await self._child.start()

    async def wait(self) -> int:
        """Wait until the server ends, and return its exit code."""
        assert self._child
        return await self._child.wait()

    async def stop(self) -> bool:
        """Stop the server in order; return whether it ended by itself."""
        in_time = await self._child.stop() if self._child else True
        await self._kill_processes()
        self._sockets.remove()
        return in_time

    async def kill(self) -> None:
        """Kill all of the server's processes as a crash would; its lock files stay behind."""
        if self._child:
            await self._child.kill()
        await self._kill_processes()

    async def restart(self) -> None:
        """Stop and start, at the same address."""
        await self.stop()
        await self.start()

    def _binaries(self) -> Path:
        return copied_binaries(self._data.postgres) if self._account else installed_binaries()

    async def _create_cluster(self, binaries: Path) -> None:
        # Complete, or absent: a start that was interrupted here begins anew.
        partial = self._data.postgres / "cluster.partial"
        await kill_all(working_in(partial, program=""))
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(mode=0o700)
        if self._account:
            os.chown(partial, self._account.uid, self._account.gid)
        initdb = (
            str(binaries / "initdb"),
            *("-D", str(partial), "--username", SUPERUSER, "--auth", "scram-sha-256", "--pwfile", "/dev/stdin"),
            *("--encoding", "UTF8", "--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"),
        )
        await self._run("initdb", initdb, self._passwords[SUPERUSER] + "\n", partial)
        statements = (
            f"CREATE ROLE {APPLICATION} LOGIN PASSWORD '{self._passwords[APPLICATION]}';\n"
            f"CREATE DATABASE {APPLICATION} OWNER {APPLICATION};\n"
        )
        single_user = (str(binaries / "postgres"), "--single", "-D", str(partial), SUPERUSER)
        await self._run("create-database", single_user, statements, partial)
        partial.rename(self._cluster)

    async def _run(self, name: str, command: tuple[str, ...], stdin: str, directory: Path) -> None:
        program = Program(name, command, {"TZ": "UTC"}, directory=directory, account=self._account)
        await Child(program, self._data).run(stdin=stdin, timeout=INIT_TIMEOUT)

    async def _end_leftovers(self) -> None:
        leftovers = working_in(self._cluster, "postgres")
        pids = {process.pid for process in leftovers}
        masters = [process for process in leftovers if _parent(process) not in pids]
        # Processes whose first one was killed only wait to notice it; a whole server gets to write its checkpoint.
        for process in masters:
            with suppress(psutil.NoSuchProcess):
                if process.children():
                    process.send_signal(signal.SIGINT)
                    await until(lambda: not working_in(self._cluster, "postgres"), STOP_GRACE)
        await self._kill_processes()
        # No process of this cluster is left. PostgreSQL would trust the pid in it, which may belong to another by now.
        (self._cluster / "postmaster.pid").unlink(missing_ok=True)

    async def _kill_processes(self) -> None:
        # More than once: a process may have been started between the listing and the kill.
        while leftovers := working_in(self._cluster, "postgres"):
            await kill_all(leftovers)

    async def _accepts(self) -> bool:
        try:
            lines = (self._cluster / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) > READY_LINE and lines[READY_LINE].strip() == "ready" and lines[0] == str(self.pid)

    def _dsn(self, user: str, database: str) -> str:
        place = quote(str(self._sockets.path), safe="")
        return f"postgresql://{user}:{self._passwords[user]}@/{database}?host={place}&port={self._settings['port']}"


def running_dsn(data_dir: Path) -> str:
    """Return the address of the database in a data directory; raise NothingThereError if there is none."""
    postgres = Postgres(data_dir)
    if not (DataDirectory(data_dir).postgres / PASSWORDS).exists():
        raise NothingThereError(f"there is no Turnstream in {data_dir}: start one with `turnstream up`")
    postgres.prepare()
    return postgres.dsn


def _parent(process: psutil.Process) -> int | None:
    try:
        return process.ppid()
    except psutil.NoSuchProcess:
        return None
