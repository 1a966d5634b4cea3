"""Scripts that use a published client, run with any version of it."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "tests" / "acceptance" / "clients"
# By version. The old one has dependencies of its own, and so an environment; `make` installs it.
INTERPRETERS = {
    "0.7.5": Path(sys.executable),
    "0.3.5": ROOT / ".tools" / "client-0.3.5" / "bin" / "python",
}


async def run_script(name: str, version: str, url: str) -> dict[str, Any]:
    """Run a script with a version of the client, and return what it printed."""
    process = await asyncio.create_subprocess_exec(
        INTERPRETERS[version],
        SCRIPTS / name,
        url,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONSAFEPATH": "1"},
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    seen: dict[str, Any] = json.loads(out)
    return seen
