"""Small tasks that nobody waits for."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from turnstream.logs import log
from turnstream_worker.tools.tool import ToolError

TASKS_LIMIT = 256
PATIENCE = 5  # seconds that each may take


class Background:
    """Runs tasks whose failure changes nothing but the log, and ends them with the process."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, what: str, work: Coroutine[Any, Any, object]) -> None:
        """Run something, unless there is too much under way already; `what` names it in the log."""
        if len(self._tasks) >= TASKS_LIMIT:
            work.close()
            log.warning("background.refused", what=what)
            return
        task = asyncio.create_task(_run(what, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Return when all that was started is done, which takes `PATIENCE` at most."""
        while self._tasks:
            await asyncio.wait(self._tasks)


async def _run(what: str, work: Coroutine[Any, Any, object]) -> None:
    try:
        async with asyncio.timeout(PATIENCE):
            await work
    except (ToolError, TimeoutError) as error:
        log.info("background.failed", what=what, error=type(error).__name__)
