"""The local system's command: `up` and `demo`, with stubs for Turnstream's own processes."""

import asyncio
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil
from support.local_processes import DEADLINE, STUB, alive

from turnstream_local.ports import free_port

COMMAND = """
import sys
from turnstream_local.cli import main
from turnstream_local.programs import Commands

stub = (sys.executable, sys.argv[1])
kinds = {"gateway": "gateway", "worker": "worker", "stand_in": "stand-in", "provision": "provision"}
main(sys.argv[2:], commands=Commands(**{field: (*stub, kind) for field, kind in kinds.items()}))
"""


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
