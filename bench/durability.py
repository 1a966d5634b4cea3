"""What durability costs and gives: a step's overhead, the journal's part of it, recovery, and how fast a cancel is."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Self

import httpx

from bench.errors import LoadError
from bench.processor_time import processor_seconds
from bench.running import STAND_IN, recorded_pids
from bench.spread import percentile
from turnstream.database import Database
from turnstream.ids import new_id
from turnstream.settings import PostgresSettings
from turnstream.steps import Step
from turnstream.store import Store
from turnstream.turns import Outcome
from turnstream_local.layout import temporary_data_directory
from turnstream_local.ports import free_port
from turnstream_local.programs import Commands
from turnstream_local.system import Options, System

STEPS = 10  # calls of a tool in a turn that has some
TURNS = 30
JOURNALLED = 2000  # steps
KILLS = 5
RECOVERING = 8  # turns that run when a worker is killed
CANCELS = 40
TOOLS = [{"type": "mcp", "server_label": "bench", "connector_id": "python"}]
TERMINAL = {"response.completed", "response.failed", "response.incomplete"}
PATIENCE = httpx.Timeout(60)  # seconds of silence


@dataclass(frozen=True)
class Times:
    """A set of times, in milliseconds."""

    p50: float
    p95: float
    count: int

    @classmethod
    def of(cls, seconds: list[float]) -> Self:
        """Summarise times given in seconds; raise LoadError if there are none."""
        if not seconds:
            raise LoadError("nothing was measured")
        ordered = sorted(seconds)
        return cls(1000 * percentile(ordered, 50), 1000 * percentile(ordered, 95), len(ordered))


@dataclass(frozen=True)
class Durability:
    """The figures."""

    step: Times  # that a step adds to its turn, with the model's answer and the tool's, which take next to nothing
    step_cpu_ms: float  # of all processes but the model
    journal_cpu_ms: float  # of a step's two writes: the store's client, and Postgres
    recovery: Times  # from a worker's death to the first new event of each of its turns
    cancel: Times  # from the request to the turn's last event at its reader

    def rows(self) -> list[tuple[str, str]]:
        """Return the lines of a table."""
        return [
            (f"a step's overhead, in turns of {STEPS} tool calls, p50 / p95 ms", _both(self.step)),
            ("a step's processor time, ms", f"{self.step_cpu_ms:.2f}"),
            ("  the journal's part of it, ms", f"{self.journal_cpu_ms:.2f}"),
            (f"recovery of {self.recovery.count} turns of killed workers, p50 / p95 ms", _both(self.recovery)),
            (f"{self.cancel.count} cancels, to the turn's last event, p50 / p95 ms", _both(self.cancel)),
        ]

    def figures(self) -> dict[str, Any]:
        """Return them for JSON."""
        return asdict(self)


async def measure_durability() -> Durability:
    """Run Turnstream with two workers and measure."""
    async with _running() as site:
        step, step_cpu = await _measure_steps(site)
        return Durability(
            step=step,
            step_cpu_ms=step_cpu,
            journal_cpu_ms=await _measure_journal(site),
            cancel=await _measure_cancels(site),
            recovery=await _measure_recovery(site),
        )


@dataclass(frozen=True)
class _Site:
    client: httpx.AsyncClient
    model: httpx.AsyncClient
    data_dir: Path
    dsn: str
    reports: list[str]  # what the supervisor has said

    def starts(self, process: str) -> int:
        """Return how often a process has become ready."""
        return sum(line.startswith(f"{process} is ready") for line in self.reports)

    @property
    def pids(self) -> Mapping[str, int]:
        return {name: pid for name, pid in recorded_pids(self.data_dir).items() if name != STAND_IN}

    async def script(self, text: str, replies: list[dict[str, Any]]) -> None:
        (await self.model.post("/script", json={"match": text, "replies": replies})).raise_for_status()

    async def events(self, text: str, **body: Any) -> AsyncIterator[dict[str, Any]]:
        asked = {"model": STAND_IN, "input": text, "stream": True, **body}
        async with self.client.stream("POST", "/v1/responses", json=asked) as answer:
            answer.raise_for_status()
            async for line in answer.aiter_lines():
                if line.startswith("data: "):
                    yield json.loads(line.removeprefix("data: "))


@asynccontextmanager
async def _running() -> AsyncIterator[_Site]:
    port = free_port()
    environment = (f"TURNSTREAM_TOOLS_YAML={Path(__file__).with_name('tools.yaml')}", f"PYTHONPATH={Path.cwd()}")
    commands = Commands(worker=("env", *environment, sys.executable, "-m", "turnstream_worker"))
    with temporary_data_directory() as data_dir:
        reports: list[str] = []
        system = System(Options(data_dir, port, workers=2, stand_in=True, commands=commands), reports.append)
        with system.locked():
            try:
                await system.start()
                watching = asyncio.create_task(system.watch())
                async with (
                    httpx.AsyncClient(base_url=system.url, timeout=PATIENCE) as client,
                    httpx.AsyncClient(base_url=system.stand_in_url or "", timeout=PATIENCE) as model,
                ):
                    yield _Site(client, model, data_dir, system.postgres_dsn, reports)
                watching.cancel()
            finally:
                await system.stop()


async def _measure_steps(site: _Site) -> tuple[Times, float]:
    """Return what a step adds to a turn, and the processor time of one in ms."""
    calling = [{"tool_calls": [{"name": "nothing", "arguments": {}}]}] * STEPS

    async def run(calls: list[dict[str, Any]]) -> tuple[list[float], float]:
        times, before = [], sum(processor_seconds(site.pids).values())
        for _ in range(TURNS):
            await site.script("steps", [*calls, {"text": "Done."}])
            started = time.perf_counter()
            kinds = [event["type"] async for event in site.events("steps", tools=TOOLS)]
            times.append(time.perf_counter() - started)
            if kinds[-1] != "response.completed" or kinds.count("response.mcp_call.completed") != len(calls):
                raise LoadError(f"a turn of {len(calls)} calls ended in {kinds[-1]}")
        return times, sum(processor_seconds(site.pids).values()) - before

    await run(calling)  # to warm up
    bare, bare_cpu = await run([])
    whole, whole_cpu = await run(calling)
    base = percentile(sorted(bare), 50)
    return Times.of([(each - base) / STEPS for each in whole]), 1000 * (whole_cpu - bare_cpu) / TURNS / STEPS


async def _measure_journal(site: _Site) -> float:
    """Return the processor time in ms of a step's writes: what the model said, then what the tool returned."""
    settings = PostgresSettings.model_validate({"postgres_dsn": site.dsn})
    database = await Database.connect(settings)
    store, turn_id = Store(database), new_id("resp_")
    postgres = {"postgres": site.pids["postgres"]}
    # Paused, they neither disturb nor take over a turn whose worker never beats.
    workers = [pid for name, pid in site.pids.items() if name.startswith("worker")]
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    try:
        await store.accept(turn_id, "bench", {"model": STAND_IN}, [], conversation=None, previous=None)
        turn = await store.claim(turn_id, "bench", 600)
        if turn is None:
            raise LoadError("the turn to be journalled cannot be claimed")
        before = time.process_time() + sum(processor_seconds(postgres).values())
        now = datetime.now(UTC)
        for number in range(0, 2 * JOURNALLED, 2):
            said = [{"type": "message", "id": item, "text": "x" * 500} for item in (new_id("msg_"),)]
            made = [{"type": "mcp_call", "id": new_id("mcp_"), "name": "nothing", "arguments": "{}", "output": None}]
            model = Step(number, "model_call", None, 1, "finished", bytes(32), said, None, now, now)
            tool = Step(number + 1, "tool_call", "nothing", 1, "started", bytes(32), made, None, now, None)
            await store.journal(turn, [model, tool])
            await store.journal(turn, [replace(tool, state="finished", finished_at=now)])
        taken = time.process_time() + sum(processor_seconds(postgres).values()) - before
        await store.finish(turn, Outcome("completed", []))
        await store.close([turn.id])
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGCONT)
        await database.close()
    return 1000 * taken / JOURNALLED


async def _measure_cancels(site: _Site) -> Times:
    times = []
    for _ in range(CANCELS):
        response, started, cancelling = "", 0.0, None
        async for event in site.events("[stand-in tokens=2000 delay_ms=10] Go on."):
            if event["type"] == "response.created":
                response = event["response"]["id"]
            elif event["type"] == "response.output_text.delta" and cancelling is None:
                started = time.perf_counter()
                cancelling = asyncio.create_task(site.client.post(f"/v1/responses/{response}/cancel"))
            elif event["type"] in TERMINAL:
                times.append(time.perf_counter() - started)
                if event["response"]["status"] != "cancelled":
                    raise LoadError(f"a cancelled turn is {event['response']['status']}")
        if cancelling:
            (await cancelling).raise_for_status()
    return Times.of(times)


async def _measure_recovery(site: _Site) -> Times:
    times: list[float] = []
    for number in range(KILLS):
        worker = f"worker-{1 + number % 2}"
        starts = site.starts(worker)
        times += await _kill_one(site, worker)
        await _until(partial(_started, site, worker, starts))
    return Times.of(times)


async def _kill_one(site: _Site, worker: str) -> list[float]:
    """Kill a worker in the middle of turns; return how long each that it ran was silent."""
    arrivals: list[list[tuple[float, dict[str, Any]]]] = [[] for _ in range(RECOVERING)]

    async def read(seen: list[tuple[float, dict[str, Any]]]) -> None:
        async for event in site.events("[stand-in tokens=150 delay_ms=40] Go on."):
            seen += [(time.perf_counter(), event)]

    async with asyncio.TaskGroup() as readers:
        for seen in arrivals:
            readers.create_task(read(seen))
        await _until(lambda: all(len(seen) > RECOVERING for seen in arrivals))
        killed = time.perf_counter()
        os.kill(site.pids[worker], signal.SIGKILL)
    if any(seen[-1][1]["type"] != "response.completed" for seen in arrivals):
        raise LoadError("a turn of a killed worker was not completed")
    # The half-streamed item of a dead attempt is closed as incomplete: the first event of the next one.
    return [at - killed for seen in arrivals for at, event in seen if _closes_half(event)]


def _closes_half(event: dict[str, Any]) -> bool:
    return event["type"] == "response.output_item.done" and bool(event["item"].get("status") == "incomplete")


def _started(site: _Site, worker: str, before: int) -> bool:
    return site.starts(worker) > before


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - other processes make it hold
            await asyncio.sleep(0.02)


def _both(times: Times) -> str:
    return f"{times.p50:.1f} / {times.p95:.1f}"
