"""Start and stop the baseline."""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from bench.running import Running, recorded_pids
from turnstream_local.child import Child, Program
from turnstream_local.keeper import RestartPolicy
from turnstream_local.layout import DataDirectory, temporary_data_directory
from turnstream_local.ports import LOOPBACK, free_port
from turnstream_local.postgres import Postgres
from turnstream_local.programs import Commands, Programs
from turnstream_local.readiness import answers_http
from turnstream_local.supervisor import Supervisor

NAME = "llama-stack"
MODEL = "openai/stand-in"  # provider and model, as Llama Stack names it
RUN_YAML = Path(__file__).with_name("run.yaml")
# The function behind `llama`, whose script would have to be searched for.
LLAMA = (sys.executable, "-c", "from llama_stack.cli.llama import main; main()")


@asynccontextmanager
async def llama_stack() -> AsyncIterator[Running]:
    """Run a Llama Stack server on a data directory of its own, removed at the end."""
    stand_in_port, port = free_port(), free_port()
    with temporary_data_directory() as data_dir:
        data, postgres = DataDirectory(data_dir), Postgres(data_dir)
        data.create()
        supervisor = Supervisor(_report, RestartPolicy(first_attempts=1))
        stand_in = Child(Programs(Commands(), "").stand_in(stand_in_port), data, answers_http(stand_in_port, "/health"))
        try:
            await supervisor.start([postgres], [stand_in])
            program = _program(port, postgres.dsn, f"http://{LOOPBACK}:{stand_in_port}/v1", data_dir)
            await supervisor.start([Child(program, data, answers_http(port, "/v1/health"))])
            yield Running(NAME, port, MODEL, recorded_pids(data_dir))
        finally:
            await supervisor.stop()


def _program(port: int, dsn: str, stand_in_url: str, data_dir: Path) -> Program:
    address = urlsplit(dsn)
    query = parse_qs(address.query)
    environment = {
        "PGHOST": query["host"][0],
        "PGPORT": query["port"][0],
        "PGDATABASE": address.path.strip("/"),
        "PGUSER": unquote(address.username or ""),
        "PGPASSWORD": unquote(address.password or ""),
        "STAND_IN_URL": stand_in_url,
        "BENCH_FILES": str(data_dir / "files"),
        "HOME": str(data_dir),  # it keeps files there
    }
    command = (*LLAMA, "stack", "run", str(RUN_YAML), "--port", str(port))
    return Program(NAME, command, {**os.environ, **environment})


def _report(line: str) -> None:
    print(f"  {line}", flush=True)
