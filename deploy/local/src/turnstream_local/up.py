"""`turnstream up`: run everything until told to stop."""

import asyncio
import json
import math
import signal
import time
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from turnstream_local.errors import KeyNeededError, TurnFailedError
from turnstream_local.programs import MODEL_SETTINGS
from turnstream_local.system import Options, System
from turnstream_local.turn_client import first_model

# Seconds: one Ctrl-C arrives twice when a wrapper (make, timeout, npm) forwards what the terminal has sent already.
SAME_SIGNAL = 0.5
INTERRUPTED = 130  # the exit code of what a second Ctrl-C ended


async def up(options: Options) -> int:
    """Run the system until SIGINT or SIGTERM; return the exit code."""
    system = System(options, say)
    with system.locked():
        announce_model(options)
        return await run_until_stopped(system, _serve(system))


async def run_until_stopped(system: System, work: Coroutine[Any, Any, None]) -> int:
    """Do the work until it ends or a signal comes, then stop the system in order; a second signal stops it at once."""
    first, second = _signals()
    task = asyncio.create_task(work, name="work")
    await _either(task, first)
    if not task.done():
        say("stopping; Ctrl-C again stops at once")
    stopping = asyncio.create_task(_stop(system, task), name="stop")
    await _either(stopping, second)
    if not stopping.done():
        stopping.cancel()
        await asyncio.wait({stopping})
        await system.kill()
        return INTERRUPTED
    stopping.result()
    if not task.cancelled():
        task.result()
    return 0


def announce_model(options: Options) -> None:
    """Say first of all when answers will not come from a real model."""
    if options.stand_in:
        say(
            f"No real model is configured, so a stand-in answers, by rule. For a real one set {_names(MODEL_SETTINGS)}."
        )


def say(line: str) -> None:
    """Print a line at once, also into a pipe."""
    # A terminal that was closed must not keep the system from stopping in order.
    with suppress(OSError):
        print(line, flush=True)


async def _serve(system: System) -> None:
    started = time.monotonic()
    await system.start()
    say(f"Turnstream is ready at {system.url} ({time.monotonic() - started:.1f} s). Try:\n")
    say(f"  {await _curl(system.url)}\n")
    say(f"Data and logs are in {system.data_dir}. Ctrl-C stops it.")
    await system.watch()


async def _stop(system: System, task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})
    await system.stop()


async def _curl(url: str) -> str:
    model, key = "MODEL", ""  # the example is worth showing, whatever the models are
    try:
        model = await first_model(url)
    except KeyNeededError:
        key = " -H 'authorization: Bearer KEY'"
    except TurnFailedError:
        pass
    body = json.dumps({"model": model, "input": "Tell me a short story.", "stream": True})
    return f"curl -N {url}/v1/responses -H 'content-type: application/json'{key} -d '{body}'"


def _signals() -> tuple[asyncio.Event, asyncio.Event]:
    """Return an event for the first SIGINT, SIGTERM or SIGHUP (its terminal was closed), and one for the second."""
    first, second = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    last = -math.inf

    def note() -> None:
        nonlocal last
        if loop.time() - last >= SAME_SIGNAL:
            (second if first.is_set() else first).set()
        last = loop.time()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, note)
    return first, second


async def _either(task: asyncio.Task[None], event: asyncio.Event) -> None:
    waiting = asyncio.create_task(event.wait(), name="signal")
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()


def _names(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"
