"""One run: a load under faults for a while, then peace, and what the audit finds."""

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Self

from support.tool_turns import ToolServer

from chaos.audit import audit
from chaos.client import Client
from chaos.coverage import coverage
from chaos.faults import Faults, Pace
from chaos.finding import KINDS, Finding
from chaos.fleet import Fleet
from chaos.load import Load
from chaos.record import Posted, Record
from chaos.recovery import percentile, recoveries
from chaos.turn_maker import TurnMaker
from chaos.watch import watch

AT_ONCE = 32  # turns that are looked at together in the end
LOOK = 15.0  # seconds that it may take to read a turn once more


@dataclass
class Report:
    """What came of a run."""

    turns: int = 0
    findings: list[Finding] = field(default_factory=list)
    recoveries: list[float] = field(default_factory=list)  # seconds
    covered: Counter[str] = field(default_factory=Counter)  # how often each thing has happened

    def __iadd__(self, other: Self) -> Self:
        self.turns += other.turns
        self.findings += other.findings
        self.recoveries += other.recoveries
        self.covered += other.covered
        return self

    def line(self) -> str:
        """Return it in one line."""
        found = Counter(finding.kind for finding in self.findings)
        slowest = percentile(self.recoveries)
        recovery = "none" if slowest is None else f"{slowest:.1f}"
        return f"turns {self.turns} {' '.join(f'{kind} {found[kind]}' for kind in KINDS)} recovery_p95_s {recovery}"


@dataclass(frozen=True)
class Plan:
    """How a run goes."""

    seed: str
    seconds: float  # of faults
    pace: Pace
    clients: int
    patience: float  # seconds of peace that turns then have to end


async def run(fleet: Fleet, plan: Plan) -> Report:
    """Break a fleet under load, let it recover, and audit every turn."""
    record = Record()
    async with Client(fleet.urls) as client:
        load = Load(TurnMaker(client, fleet.tools, record), plan.seed)
        faults = Faults(fleet, Random(plan.seed), plan.pace, record)
        loading = asyncio.create_task(load.run(plan.clients), name="load")
        breaking = asyncio.create_task(faults.run(), name="faults")
        watching = asyncio.create_task(watch(client, record), name="watch")
        await asyncio.wait((loading, breaking, watching), timeout=plan.seconds, return_when=asyncio.FIRST_COMPLETED)
        faults.stop.set()
        await breaking
        load.stop.set()
        await fleet.healed(plan.patience)
        fleet.note("peace")
        with suppress(TimeoutError):
            async with asyncio.timeout(plan.patience):
                await loading
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        fleet.note("looking at every turn")
        await look(client, fleet.tools, record)
    return Report(len(record.turns), audit(record), recoveries(record.turns, record.kills), coverage(record))


async def look(client: Client, tools: ToolServer, record: Record) -> None:
    """Read every turn once more, all that is stored, and what tools have executed."""
    places = asyncio.Semaphore(AT_ONCE)
    await asyncio.gather(*(_look_at(client, posted, places) for posted in record.turns))
    rng = Random(0)
    for talk in record.talks:
        talk.items = await client.list_all(rng, f"/v1/conversations/{talk.id}/items", order="asc")
    record.listed = await client.list_all(rng, "/v1/responses", order="asc")
    record.letters = await client.list_all(rng, "/v1/admin/dead-letters")
    record.executions = await tools.calls()


async def _look_at(client: Client, posted: Posted, places: asyncio.Semaphore) -> None:
    rng = Random(posted.key)
    if posted.id:
        async with places:
            if not posted.unstored:
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK):
                        await client.follow(posted, posted.whole, rng)
            posted.stored = await client.retrieve(posted, rng)
