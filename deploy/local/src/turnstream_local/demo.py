"""`turnstream demo`: one streamed turn on a system of its own, which leaves nothing behind."""

import asyncio
from contextlib import suppress
from dataclasses import replace

from turnstream_local.errors import TurnFailedError
from turnstream_local.system import Options, System
from turnstream_local.turn_client import first_model, stream_turn
from turnstream_local.up import announce_model, run_until_stopped, say

QUESTION = "Say in a few sentences what a durable agent turn is."
TIMEOUT = 180.0  # seconds for the turn; a real model may be slow


async def demo(options: Options, model: str | None) -> int:
    """Start the system, stream one turn to the terminal, stop; return the exit code."""
    announce_model(options)
    system = System(replace(options, workers=1), say)
    with system.locked():
        return await run_until_stopped(system, _show_turn(system, model))


async def _show_turn(system: System, model: str | None) -> None:
    await system.start()
    try:
        async with asyncio.timeout(TIMEOUT):
            model = model or await first_model(system.url)
            say(f"\n{model} < {QUESTION}\n")
            turn = await stream_turn(system.url, model, QUESTION, _show)
    except TimeoutError:
        raise TurnFailedError(f"the turn did not end within {TIMEOUT:.0f} s") from None
    finally:
        say("")  # ends the line of the text
    say(f"\n{turn.summary}\n")
    if not turn.as_promised:
        raise TurnFailedError("the turn did not stream as promised")


def _show(text: str) -> None:
    with suppress(OSError):  # the terminal may be gone
        print(text, end="", flush=True)
