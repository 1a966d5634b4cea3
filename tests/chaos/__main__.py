"""`python -m chaos`: the long form. CHAOS_SECONDS and CHAOS_SEED set how long, and which faults."""

import asyncio
import os
import secrets
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path
from time import monotonic

from support.infrastructure import Infrastructure, embedded
from support.nats_cluster import clustered

from chaos.faults import LONG
from chaos.fleet import running
from chaos.run import Plan, Report, run

SECONDS = 600.0
CLIENTS = 14
PATIENCE = 120.0  # seconds
SHOWN = 40  # findings
CLUSTERED = 0.3  # of the time is spent with a cluster of NATS servers


async def chaos(seed: str, seconds: float) -> Report:
    """Break Turnstream for so many seconds; print what happens, and keep the logs if a promise was not kept."""
    begun = monotonic()

    def note(what: str) -> None:
        print(f"{monotonic() - begun:7.1f}  {what}", flush=True)

    report = Report()
    for servers, part, network in ((embedded, 1 - CLUSTERED, True), (clustered, CLUSTERED, False)):
        async with (
            servers() as infrastructure,
            running(infrastructure, note, workers=3, gateways=2, network=network) as fleet,
        ):
            found = await run(fleet, Plan(f"{seed}-{servers.__name__}", seconds * part, LONG, CLIENTS, PATIENCE))
            if found.findings:
                note(f"logs: {_kept(infrastructure)}")
            report += found
    return report


def _kept(infrastructure: Infrastructure) -> Path:
    kept = Path(tempfile.mkdtemp(prefix="turnstream-chaos-"))
    for logs in infrastructure.folder.rglob("logs"):
        shutil.copytree(logs, kept / logs.relative_to(infrastructure.folder))
    return kept


def main() -> int:
    """Run, print the report, and return 1 if a promise was not kept."""
    seed = os.environ.get("CHAOS_SEED") or secrets.token_hex(4)
    print(f"CHAOS_SEED={seed}", flush=True)
    report = asyncio.run(chaos(seed, float(os.environ.get("CHAOS_SECONDS") or SECONDS)))
    for finding in report.findings[:SHOWN]:
        print(f"{finding.kind}: {finding.turn}: {finding.what}")
    for (kind, what), times in Counter((finding.kind, finding.what) for finding in report.findings).most_common(SHOWN):
        print(f"{times:6d} times {kind}: {what}")
    print(", ".join(f"{what}: {times}" for what, times in report.covered.most_common()))
    print(report.line())
    return 1 if report.findings else 0


if __name__ == "__main__":
    sys.exit(main())
