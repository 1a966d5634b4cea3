"""A worker's process that has a tool under way which never answers."""

import subprocess
import sys
from pathlib import Path

SOON = 10  # seconds
PROCESS = """
import asyncio
from turnstream.process import run
from turnstream_worker.settings import WorkerSettings
from turnstream_worker.tools.python_tools import PythonTools

async def serve(settings, stop):
    tools = PythonTools(settings)
    print((await tools.call(tools.functions["stuck"], {}, "key")).output, flush=True)

unused = {"nats_url": "nats://unused", "postgres_dsn": "postgresql://unused", "tool_timeout": 0.1}
run("worker", WorkerSettings.model_validate({**unused, "tools_yaml": "tools.yaml"}), serve)
"""


def test_process_ends(tmp_path: Path) -> None:
    """It ends when it is told to, although a function of the operator's still runs in a thread of its own."""
    (tmp_path / "stuck.py").write_text("import time\n\ndef stuck() -> None:\n    time.sleep(60)\n")
    (tmp_path / "tools.yaml").write_text('tools: [{name: stuck, call: "stuck:stuck"}]')
    ended = subprocess.run(
        [sys.executable, "-c", PROCESS], cwd=tmp_path, timeout=SOON, capture_output=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
