"""Threads for functions that block. A process ends without them, as it cannot do with those of concurrent.futures."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import Any


class Threads:
    """A fixed number of threads, which take what there is to run in its order; one that hangs is lost to the others."""

    def __init__(self, count: int) -> None:
        self._waiting: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()
        for number in range(count):
            Thread(target=self._serve, name=f"tool-{number}", daemon=True).start()

    async def run(self, function: Callable[[], Any]) -> Any:
        """Run a function and return what it returns; raise what it raises. Cancelled, it goes on if it has begun."""
        future: Future[Any] = Future()
        self._waiting.put((future, function))
        return await asyncio.wrap_future(future)

    def _serve(self) -> None:
        while True:
            future, function = self._waiting.get()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(function())
            except BaseException as error:  # noqa: BLE001 - it is raised where the function was asked for
                future.set_exception(error)
