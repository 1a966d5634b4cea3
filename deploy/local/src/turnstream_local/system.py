"""All of Turnstream on one machine: what is started, in which order, and how the parts find each other."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from turnstream_local.child import Child
from turnstream_local.errors import PortTakenError
from turnstream_local.keeper import Report, RestartPolicy
from turnstream_local.layout import NOTIFY_SOCKETS, DataDirectory
from turnstream_local.nats_server import NatsServer
from turnstream_local.orphans import end_recorded
from turnstream_local.passwords import kept_key
from turnstream_local.ports import LOOPBACK, is_free, kept_port
from turnstream_local.postgres import Postgres
from turnstream_local.programs import Commands, Programs, default_run_yaml, real_model_configured
from turnstream_local.readiness import answers_http
from turnstream_local.supervisor import Supervisor

PROVISION_TIMEOUT = 60.0  # seconds
# Who a killed supervisor left behind is ended in this order, the rest before: what others depend on goes last.
DEPENDED_ON = ("stand-in", "nats", "postgres")


@dataclass(frozen=True)
class Options:
    """What an operator can choose."""

    data_dir: Path
    port: int
    workers: int = 2
    run_yaml: Path | None = None  # None: the one that Turnstream ships
    stand_in: bool = field(default_factory=lambda: not real_model_configured())
    commands: Commands = field(default_factory=Commands)
    policy: RestartPolicy = field(default_factory=RestartPolicy)


class System:
    """Everything that runs; built inside `locked`, started once, stopped once."""

    def __init__(self, options: Options, report: Report) -> None:
        self.url = f"http://{LOOPBACK}:{options.port}"
        self.data_dir = options.data_dir
        self.stand_in_url: str | None = None  # of the stand-in model, once it is started
        self._options = options
        self._report = report
        self._data = DataDirectory(options.data_dir)
        self._run_yaml = (options.run_yaml or default_run_yaml()).absolute()
        self._postgres = Postgres(options.data_dir)
        self._nats = NatsServer(options.data_dir)
        self._supervisor = Supervisor(report, options.policy)

    @property
    def postgres_dsn(self) -> str:
        """The database."""
        return self._postgres.dsn

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the data directory for this process."""
        self._data.create()
        with self._data.lock():
            yield

    async def start(self) -> None:
        """Return when everything has been ready; raise LocalError when it cannot be."""
        await self._end_orphans()
        if not is_free(self._options.port):
            raise PortTakenError(
                f"port {self._options.port} is taken, or not permitted: stop what listens there, or choose another "
                'with --port (make up ARGS="--port ...")'
            )
        self._data.sockets(NOTIFY_SOCKETS).remove()
        self._postgres.prepare()
        self._nats.prepare()
        stand_in, self.stand_in_url = self._stand_in()
        programs = Programs(self._options.commands, self._postgres.dsn, kept_key(self._data.root / "secrets.key"))
        workers = [
            Child(programs.worker(self._nats.url_for("worker"), number, self._run_yaml, self._models_url()), self._data)
            for number in range(1, self._options.workers + 1)
        ]
        gateway = Child(programs.gateway(self._nats.url_for("gateway"), self._options.port), self._data)
        self._report(f"starting postgres, nats, {'a stand-in model, ' if stand_in else ''}the gateway and the workers")
        # All at once: each waits for what it needs, and importing takes most of the time. The gateway and the workers
        # stop together, so that streams and the turns behind them end in one grace.
        groups = ([self._postgres], [self._nats], stand_in, [*workers, gateway])
        try:
            async with asyncio.TaskGroup() as starting:
                starting.create_task(self._supervisor.start(*groups))
                starting.create_task(self._provision(programs))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None

    async def watch(self) -> None:
        """Return never; raise what keeps the system from running on."""
        await self._supervisor.watch()

    async def stop(self) -> None:
        """Stop everything in order: the gateway with the workers, the stand-in, NATS, PostgreSQL."""
        await self._supervisor.stop()
        self._data.sockets(NOTIFY_SOCKETS).remove()

    async def kill(self) -> None:
        """Kill everything at once; the next start recovers."""
        await self._supervisor.kill()
        self._data.sockets(NOTIFY_SOCKETS).remove()

    async def _provision(self, programs: Programs) -> None:
        await Child(programs.provision(self._nats.url), self._data).run(timeout=PROVISION_TIMEOUT)

    def _stand_in(self) -> tuple[list[Child], str | None]:
        if not self._options.stand_in:
            return [], None
        port = kept_port(self._data.root / "stand-in.port")
        address = f"http://{LOOPBACK}:{port}"
        program = Programs(self._options.commands, postgres_dsn="").stand_in(port)
        return [Child(program, self._data, answers_http(port, "/health"))], address

    def _models_url(self) -> str | None:
        return f"{self.stand_in_url}/v1" if self.stand_in_url else None

    async def _end_orphans(self) -> None:
        def order(record: Path) -> int:
            return DEPENDED_ON.index(record.stem) if record.stem in DEPENDED_ON else -1

        for record in sorted(self._data.pids.glob("*.json"), key=order):
            if pid := await end_recorded(record):
                self._report(f"ended {record.stem} (pid {pid}), which an earlier turnstream left running")
