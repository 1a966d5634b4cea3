"""The local system's PostgreSQL server: what outlives a kill, and who may do what."""

import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from turnstream_local.errors import DirectoryNotReachableError
from turnstream_local.postgres import Postgres


@pytest.fixture
async def postgres(data_dir: Path) -> AsyncIterator[Postgres]:
    """Give a running PostgreSQL server."""
    server = Postgres(data_dir)
    await server.start()
    yield server
    await server.stop()


async def test_postgres_keeps_data_and_address_over_a_kill(postgres: Postgres) -> None:
    """What was committed is there after a kill of all of the server's processes, at the same address."""
    dsn = postgres.dsn
    await execute(dsn, "CREATE TABLE kept (value integer)", "INSERT INTO kept VALUES (42)")
    processes = [psutil.Process(postgres.pid), *psutil.Process(postgres.pid).children()]
    await postgres.kill()
    assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)
    await postgres.start()
    assert postgres.dsn == dsn
    assert await fetch(dsn, "SELECT value FROM kept") == 42


async def test_postgres_recovers_when_only_its_first_process_is_killed(postgres: Postgres) -> None:
    """A start right after the first process's death copes with processes, lock file and sockets that it left."""
    await execute(postgres.dsn, "CREATE TABLE orphaned (value integer)")
    assert postgres.pid
    os.kill(postgres.pid, signal.SIGKILL)
    assert await postgres.wait() == -signal.SIGKILL
    await postgres.start()
    assert await fetch(postgres.dsn, "SELECT count(*) FROM orphaned") == 0


async def test_postgres_does_not_trust_a_stale_pid(postgres: Postgres, data_dir: Path) -> None:
    """A lock file whose pid now belongs to another program does not keep the server from starting."""
    await postgres.kill()
    lock = data_dir / "postgres" / "cluster" / "postmaster.pid"
    lock.write_text(lock.read_text().replace(lock.read_text().splitlines()[0], str(os.getppid()), 1))
    await postgres.start()
    assert await fetch(postgres.dsn, "SELECT 1") == 1


async def test_postgres_ends_a_server_that_was_left_running(postgres: Postgres, data_dir: Path) -> None:
    """A second object on the same data directory takes over from a server whose supervisor is gone."""
    left = postgres.pid
    assert left
    successor = Postgres(data_dir)
    await successor.start()
    assert successor.pid != left
    assert await fetch(successor.dsn, "SELECT 1") == 1
    await successor.stop()


async def test_postgres_application_is_no_superuser(postgres: Postgres) -> None:
    """The application owns its database and can do nothing to the server."""
    assert await fetch(postgres.dsn, "SELECT current_setting('is_superuser')") == "off"
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await execute(postgres.dsn, "CREATE ROLE intruder")


async def test_postgres_demands_the_password(postgres: Postgres, data_dir: Path) -> None:
    """A wrong password is refused, the right one is private, and no TCP port is open."""
    passwords = data_dir / "postgres" / "passwords.json"
    assert passwords.stat().st_mode & 0o777 == 0o600
    password = json.loads(passwords.read_text())["turnstream"]
    with pytest.raises(asyncpg.InvalidPasswordError):
        await execute(postgres.dsn.replace(password, "wrong"), "SELECT 1")
    assert await fetch(postgres.dsn, "SHOW listen_addresses") == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root changes to another account")
async def test_postgres_names_the_directory_that_its_account_cannot_enter(data_dir: Path) -> None:
    """Below a private directory of root, the error says which one, and nothing's mode is changed."""
    private = data_dir / "private"
    private.mkdir(mode=0o700)
    with pytest.raises(DirectoryNotReachableError, match=str(private)):
        await Postgres(private / "data").start()
    assert private.stat().st_mode & 0o777 == 0o700


async def execute(dsn: str, *statements: str) -> None:
    """Execute statements on a connection of their own."""
    connection = await asyncpg.connect(dsn)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def fetch(dsn: str, query: str) -> object:
    """Fetch one value on a connection of its own."""
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()
