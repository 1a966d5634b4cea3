"""The local system: its servers, its supervision and its command, against real processes."""

import asyncio
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import asyncpg
import nats
import psutil
import pytest
from nats.aio.client import Client

from turnstream_local.child import Child, Program
from turnstream_local.errors import ChildFailedError, DirectoryNotReachableError
from turnstream_local.keeper import RestartPolicy
from turnstream_local.layout import DataDirectory, temporary_data_directory
from turnstream_local.nats_server import NatsServer
from turnstream_local.ports import free_port, is_free, kept_port
from turnstream_local.postgres import Postgres
from turnstream_local.supervisor import Supervisor

DEADLINE = 60.0  # seconds until a condition must hold

# A process of each kind, as far as the supervisor can tell them from the real ones.
STUB = """
import asyncio, json, os, signal, socket, sys

EVENTS = [
    {"type": "response.created"},
    {"type": "response.output_text.delta", "delta": "Once upon "},
    {"type": "response.output_text.delta", "delta": "a time"},
    {"type": "response.completed"},
]

async def answer(reader, writer):
    request = await reader.readuntil(b"\\r\\n\\r\\n")
    for line in request.lower().split(b"\\r\\n"):
        if line.startswith(b"content-length:"):
            await reader.readexactly(int(line.split(b":")[1]))
    writer.write(b"HTTP/1.0 200 OK\\r\\n\\r\\n")
    if request.startswith(b"POST"):
        for number, event in enumerate(EVENTS):
            event["sequence_number"] = number * int(os.environ.get("STEP", "1"))
            writer.write(b"event: %s\\ndata: %s\\n\\n" % (event["type"].encode(), json.dumps(event).encode()))
    else:
        writer.write(b'{"data": [{"id": "embedder", "model_type": "embedding"}, {"id": "stub"}]}')
    await writer.drain()
    writer.close()

async def main(kind, port):
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    if port:
        await asyncio.start_server(answer, "127.0.0.1", int(port))
    if kind != "stand-in":
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
    await stop.wait()

kind = sys.argv[1]
port = {"gateway": os.environ.get("TURNSTREAM_HTTP_PORT"), "stand-in": sys.argv[-1]}.get(kind)
if kind != "provision":
    asyncio.run(main(kind, port))
"""

COMMAND = """
import sys
from turnstream_local.cli import main
from turnstream_local.programs import Commands

stub = (sys.executable, sys.argv[1])
kinds = {"gateway": "gateway", "worker": "worker", "stand_in": "stand-in", "provision": "provision"}
main(sys.argv[2:], commands=Commands(**{field: (*stub, kind) for field, kind in kinds.items()}))
"""


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """Give an empty data directory that PostgreSQL's account can reach."""
    with temporary_data_directory() as path:
        yield path


@pytest.fixture
async def nats_server(data_dir: Path) -> AsyncIterator[NatsServer]:
    """Give a running NATS server."""
    server = NatsServer(data_dir)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def postgres(data_dir: Path) -> AsyncIterator[Postgres]:
    """Give a running PostgreSQL server."""
    server = Postgres(data_dir)
    await server.start()
    yield server
    await server.stop()


class Up:
    """A running command `turnstream`, with stubs for Turnstream's own processes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []

    async def line_with(self, text: str) -> str:
        """Return the first line from here on that holds a text."""
        assert self.process.stdout
        async with asyncio.timeout(DEADLINE):
            while line := (await self.process.stdout.readline()).decode():
                self.lines.append(line.rstrip())
                if text in line:
                    return line
        raise AssertionError(f"ended without {text!r}:\n" + "\n".join(self.lines))

    async def end(self) -> int:
        """Return the exit code, and keep the rest of the lines."""
        assert self.process.stdout
        async with asyncio.timeout(DEADLINE):
            self.lines += (await self.process.stdout.read()).decode().splitlines()
            return await self.process.wait()


@asynccontextmanager
async def running(data_dir: Path, *options: object, environment: dict[str, str] | None = None) -> AsyncIterator[Up]:
    """Run the command with stubs that lie in a data directory; stop it in the end if it still runs."""
    stub = data_dir / "stub.py"
    stub.write_text(STUB)
    run_yaml = data_dir / "run.yaml"
    run_yaml.touch()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", COMMAND, str(stub), *map(str, options), "--run-yaml", str(run_yaml)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={"PATH": os.environ["PATH"], **(environment or {})},
    )
    up = Up(process)
    try:
        yield up
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await up.end()


@asynccontextmanager
async def running_up(data_dir: Path, port: int) -> AsyncIterator[Up]:
    """Run `turnstream up` on a data directory."""
    async with running(data_dir, "up", "--data-dir", data_dir, "--port", port, "--workers", 1) as up:
        yield up


def names_in(directory: Path) -> set[str]:
    """List a directory."""
    return {path.name for path in directory.iterdir()}


async def until(condition: Callable[[], bool]) -> None:
    """Return when a condition holds."""
    async with asyncio.timeout(DEADLINE):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in other processes
            await asyncio.sleep(0.02)


@asynccontextmanager
async def connected(server: NatsServer, user: str) -> AsyncIterator[tuple[Client, asyncio.Queue[Exception]]]:
    """Connect as one user, with the errors that the server sends."""
    errors: asyncio.Queue[Exception] = asyncio.Queue()

    async def note(error: Exception) -> None:
        errors.put_nowait(error)

    client = await nats.connect(server.url_for(user), error_cb=note, inbox_prefix=f"_INBOX_{user}".encode())
    try:
        yield client, errors
    finally:
        await client.close()


async def test_nats_refuses_a_client_without_credentials(nats_server: NatsServer) -> None:
    """An anonymous connection is refused."""
    reader, writer = await asyncio.open_connection("127.0.0.1", nats_server.port)
    try:
        async with asyncio.timeout(DEADLINE):
            assert (await reader.readline()).startswith(b"INFO")
            writer.write(b"CONNECT {}\r\nPUB turns.interactive.t 0\r\n\r\n")
            assert b"Authorization Violation" in await reader.readline()
    finally:
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(
    ("user", "subject"),
    [
        ("gateway", "events.t.r"),
        ("gateway", "$JS.API.STREAM.CREATE.EVENTS"),
        ("gateway", "$JS.API.STREAM.DELETE.EVENTS"),
        ("gateway", "_INBOX_worker.x"),
        ("gateway", "control.beat.w.gone"),
        ("gateway", "$JS.ACK.TURNS.interactive.1.1.1.1.0"),
        ("worker", "control.cancel.r"),
        ("worker", "$JS.API.STREAM.PURGE.TURNS"),
        ("worker", "$JS.API.CONSUMER.CREATE.TURNS"),
    ],
)
async def test_nats_refuses_publishing_beyond_a_users_permissions(
    nats_server: NatsServer, user: str, subject: str
) -> None:
    """A user that publishes what is not its own is told so by the server."""
    async with connected(nats_server, user) as (client, errors), asyncio.timeout(DEADLINE):
        await client.publish(subject, b"")
        assert "permissions violation" in str(await errors.get()).lower()


@pytest.mark.parametrize(("user", "subject"), [("gateway", "events.>"), ("gateway", ">"), ("worker", "live.>")])
async def test_nats_refuses_subscribing_beyond_a_users_permissions(
    nats_server: NatsServer, user: str, subject: str
) -> None:
    """A user that subscribes to what is not its own is told so by the server."""
    async with connected(nats_server, user) as (client, errors), asyncio.timeout(DEADLINE):
        await client.subscribe(subject)
        assert "permissions violation" in str(await errors.get()).lower()


async def test_nats_lets_services_do_their_work(nats_server: NatsServer) -> None:
    """The gateway enqueues a turn, a worker fetches and acknowledges it, and stores an event that is republished."""
    async with (
        connected(nats_server, "provision") as (admin, _),
        connected(nats_server, "gateway") as (gateway, gateway_errors),
        connected(nats_server, "worker") as (worker, worker_errors),
        asyncio.timeout(DEADLINE),
    ):
        streams = admin.jetstream()
        await streams.add_stream(name="TURNS", subjects=["turns.>"], retention="workqueue")
        republish = nats.js.api.RePublish(src="events.>", dest="live.>")
        await streams.add_stream(name="EVENTS", subjects=["events.>"], allow_direct=True, republish=republish)
        await streams.add_consumer("TURNS", durable_name="interactive", ack_policy="explicit")

        live = await gateway.subscribe("live.>")
        await gateway.jetstream().publish("turns.interactive.t", b"turn")
        pull = await worker.jetstream().pull_subscribe_bind(consumer="interactive", stream="TURNS")
        [message] = await pull.fetch(1, timeout=5)
        await message.ack_sync()
        await worker.jetstream().publish("events.t.r", b"event")
        assert (await live.next_msg(timeout=5)).data == b"event"
        last = await gateway.request("$JS.API.DIRECT.GET.EVENTS", b'{"last_by_subj": "events.t.r"}', timeout=5)
        assert last.data == b"event"
        assert gateway_errors.empty()
        assert worker_errors.empty()


async def test_nats_keeps_messages_and_address_over_a_kill(nats_server: NatsServer) -> None:
    """What was acknowledged is there after a kill, at the same address."""
    url = nats_server.url
    async with connected(nats_server, "provision") as (client, _):
        await client.jetstream().add_stream(name="KEPT", subjects=["kept"])
        await client.jetstream().publish("kept", b"kept")
        await nats_server.kill()
        await nats_server.start()
    assert nats_server.url == url
    async with connected(nats_server, "provision") as (client, _):
        assert (await client.jetstream().stream_info("KEPT")).state.messages == 1


async def test_nats_secrets_stay_private(nats_server: NatsServer, data_dir: Path) -> None:
    """Passwords stand in files of their owner only, and on no command line."""
    for name in ("nats.conf", "passwords.json"):
        assert (data_dir / "nats" / name).stat().st_mode & 0o777 == 0o600
    password = json.loads((data_dir / "nats" / "passwords.json").read_text())["gateway"]
    assert password not in " ".join(psutil.Process(nats_server.pid).cmdline())


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


def alive(process: psutil.Process) -> bool:
    """Tell whether a process still runs."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def test_up_starts_everything_and_stops_in_order(data_dir: Path) -> None:
    """Up says first that no real model answers, gets ready, and on SIGINT stops from the door inwards, with 0."""
    async with running_up(data_dir, free_port()) as up:
        await up.line_with("Turnstream is ready")
        assert "No real model is configured" in up.lines[0]
        await up.line_with("curl -N")
        up.process.send_signal(signal.SIGINT)
        assert await up.end() == 0
        stopped = [line.split()[0] for line in up.lines if " stopped " in line]
        assert set(stopped[:2]) == {"gateway", "worker-1"}  # together, before what they need
        assert stopped[2:] == ["stand-in", "nats", "postgres"]


async def test_up_recovers_from_the_kill_of_its_supervisor(data_dir: Path) -> None:
    """After kill -9 of the supervisor, the next one ends all that was left, on the same port, and loses nothing."""
    port = free_port()
    async with running_up(data_dir, port) as up:
        await up.line_with("Turnstream is ready")
        up.process.kill()
        await up.process.wait()
    left = [json.loads(path.read_text())["pid"] for path in (data_dir / "pids").glob("*.json")]
    assert len(left) == 5
    async with running_up(data_dir, port) as up:
        await up.line_with("Turnstream is ready")
        ended = [line.split()[1] for line in up.lines if line.startswith("ended ")]
        assert set(ended[:2]) == {"gateway", "worker-1"}
        assert ended[2:] == ["stand-in", "nats", "postgres"]
        assert not any(psutil.pid_exists(pid) and alive(psutil.Process(pid)) for pid in left)


async def test_up_on_a_directory_in_use_is_a_clear_error(data_dir: Path) -> None:
    """A second up on the same data directory ends at once, and the first one goes on."""
    async with running_up(data_dir, free_port()) as first:
        await first.line_with("Turnstream is ready")
        async with running_up(data_dir, free_port()) as second:
            assert await second.end() == 2
            assert f"another turnstream runs on {data_dir}" in second.lines[-1]
        assert first.process.returncode is None


async def test_up_on_a_taken_port_is_a_clear_error(data_dir: Path) -> None:
    """A taken port is named before anything starts."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with running_up(data_dir, port) as up:
            assert await up.end() == 2
            assert f"port {port} is taken" in up.lines[-1]
            assert "--port" in up.lines[-1]
    assert not (data_dir / "postgres" / "cluster").exists()


async def test_up_stops_at_once_on_a_second_signal(data_dir: Path) -> None:
    """While a worker does not end, a second signal ends everything."""
    async with running_up(data_dir, free_port()) as up:
        await up.line_with("Turnstream is ready")
        records = {path.stem: json.loads(path.read_text())["pid"] for path in (data_dir / "pids").glob("*.json")}
        os.kill(records["worker-1"], signal.SIGSTOP)
        up.process.terminate()
        await up.line_with("still waiting for worker-1 to stop")
        started = time.monotonic()
        up.process.terminate()
        assert await up.end() == 130
        assert time.monotonic() - started < 10
        assert not any(psutil.pid_exists(pid) and alive(psutil.Process(pid)) for pid in records.values())


async def test_up_takes_a_signal_that_arrives_twice_for_one(data_dir: Path) -> None:
    """What a wrapper forwards beside the terminal's own signal does not cut the stop short."""
    async with running_up(data_dir, free_port()) as up:
        await up.line_with("Turnstream is ready")
        up.process.send_signal(signal.SIGINT)
        up.process.send_signal(signal.SIGTERM)
        assert await up.end() == 0
        assert up.lines[-1].startswith("postgres stopped")


async def test_up_stops_while_it_starts(data_dir: Path) -> None:
    """A signal during the start stops what has been started, with 0."""
    async with running_up(data_dir, free_port()) as up:
        await up.line_with("starting postgres")
        up.process.terminate()
        assert await up.end() == 0
    assert not list((data_dir / "pids").glob("*.json"))


async def test_up_stops_in_order_when_its_terminal_is_closed(data_dir: Path) -> None:
    """SIGHUP is a stop like any other, also when no one reads the output any more."""
    async with running_up(data_dir, free_port()) as up:
        await up.line_with("Ctrl-C stops it")
        up.process.send_signal(signal.SIGHUP)
        assert await up.end() == 0
    assert not list((data_dir / "pids").glob("*.json"))


async def test_demo_streams_a_turn_and_leaves_nothing_behind(data_dir: Path) -> None:
    """The demo shows the text and a summary, and removes its own data."""
    async with running(data_dir, "demo", environment={"TMPDIR": str(data_dir)}) as demo:
        assert await demo.end() == 0, "\n".join(demo.lines)
        assert "Once upon a time" in demo.lines
        [summary] = [line for line in demo.lines if "4 events, sequence numbers contiguous, first token after" in line]
        assert summary.endswith("ended with response.completed")
        assert demo.lines[-1].startswith("postgres stopped")
    assert names_in(data_dir) == {"stub.py", "run.yaml"}


async def test_demo_fails_on_a_gap(data_dir: Path) -> None:
    """A missing sequence number ends the demo with an error that says so."""
    async with running(data_dir, "demo", environment={"STEP": "2"}) as demo:
        assert await demo.end() == 1
        assert any("NOT contiguous" in line for line in demo.lines)
        assert demo.lines[-1] == "turnstream: the turn did not stream as promised"


def test_kept_port_is_the_same_until_it_is_taken(data_dir: Path) -> None:
    """A port is kept in its file while it is free, and replaced when it is not."""
    path = data_dir / "port"
    port = kept_port(path)
    assert kept_port(path) == port
    with socket.create_server(("127.0.0.1", port)):
        assert not is_free(port)
        assert kept_port(path) != port
