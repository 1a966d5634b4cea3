"""Requests of all kinds, right and wrong, made from /openapi.json: whether the answers are what it says.

`python -m support.fuzzing` runs a gateway with all that belongs to it and keeps at it for a while.
"""

import argparse
import asyncio
import json
import os
import secrets
import sys
import tempfile
from pathlib import Path
from typing import Any

import httpx

from support.deployment import deployed
from support.infrastructure import embedded
from support.reader import TIMEOUT

KNOWN = 20  # things of each kind that are there to be named
# All checks but those for which the description would have to say more than it can: which of two parameters is needed,
# which of the things that a body names are there, and that the path of compaction could be that of a response.
TOO_MUCH = "positive_data_acceptance,ensure_resource_availability,allow_header_conformance"
# This one takes a right request for a wrong one, rarely, where two values of a discriminator lead to one schema.
MISTAKEN_AT_TIMES = "negative_data_rejection"
COMMAND = (
    str(Path(sys.executable).with_name("schemathesis")),
    "run",
    "--generation-database=none",
    "--request-timeout=30",
    "--continue-on-failure",
    "--no-color",
)


async def fuzz(url: str, *options: str, without: str = TOO_MUCH) -> tuple[bool, str]:
    """Run schemathesis against a gateway with a worker; return whether all was as it says, and the report."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "SCHEMATHESIS_HOOKS": "support.fuzz_hooks",
        "FUZZ_KNOWN": json.dumps(await _known(url)),
    }
    with tempfile.TemporaryDirectory() as folder:  # for what it keeps between its runs
        process = await asyncio.create_subprocess_exec(
            *(*COMMAND, *options, f"--exclude-checks={without}", f"{url}/openapi.json"),
            cwd=folder,
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        report, _ = await process.communicate()
    return process.returncode == 0, report.decode()


async def _known(url: str) -> dict[str, list[str]]:
    """Make things to be named in paths; return their ids by the names that paths' parameters have."""
    known: dict[str, list[str]] = {"response_id": [], "conversation_id": [], "item_id": [], "prompt_id": []}
    async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT) as http:

        async def made(path: str, **body: Any) -> dict[str, Any]:
            answer = await http.post(path, json=body)
            answer.raise_for_status()
            thing: dict[str, Any] = answer.json()
            return thing

        for _ in range(KNOWN):
            conversation = (await made("/v1/conversations"))["id"]
            items = await made(f"/v1/conversations/{conversation}/items", items=[{"role": "user", "content": "Hello."}])
            known["conversation_id"].append(conversation)
            known["item_id"].append(items["first_id"])
            known["response_id"].append((await made("/v1/responses", model="stand-in", input="Hello."))["id"])
            known["prompt_id"].append((await made("/v1/prompts", prompt="Be brief."))["prompt_id"])
    return {**known, "turn_id": known["response_id"], "model_id": ["stand-in"]}


async def main() -> int:
    """Start everything, fuzz it, print the report; return the process's exit code."""
    parser = argparse.ArgumentParser(description="Fuzz the API of a gateway with a worker and the stand-in model.")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 32), help="by default a new one each time")
    parser.add_argument("--seconds", type=int, default=300)
    options = parser.parse_args()
    async with embedded() as infrastructure, deployed(infrastructure) as deployment:
        await deployment.worker(embedded=True)
        gateway = await deployment.gateway()
        print(f"fuzzing for {options.seconds} seconds, seed {options.seed}")
        bounds = (f"--seed={options.seed}", f"--max-time={options.seconds}")
        passed, report = await fuzz(gateway.url, *bounds, without=f"{TOO_MUCH},{MISTAKEN_AT_TIMES}")
    print(report)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
