"""Tools as an operator might write them."""

import asyncio
import sys
import threading
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from turnstream_worker.tools.tool import ToolError

held = threading.Event()  # lets `hold` end
on_loop: list[bool] = []  # whether each call ran on the event loop


class Order(BaseModel):
    """What is ordered."""

    item: str
    count: int = 1


def add(a: int, b: Annotated[int, Field(description="the other one")] = 1) -> int:
    """Add two numbers."""
    on_loop.append(_is_on_loop())
    return a + b


async def greet(name: str, tone: Literal["warm", "cold"] = "warm") -> str:
    """Greet somebody."""
    on_loop.append(_is_on_loop())
    return f"a {tone} welcome to {name}"


def charge(order: Order, idempotency_key: str) -> dict[str, Any]:
    """Charge an order."""
    return {"item": order.item, "count": order.count, "key": idempotency_key}


def refuse() -> None:
    """Refuse."""
    raise ToolError("there is no such order")


def crash(with_message: str) -> None:
    """Crash."""
    raise RuntimeError(with_message)


async def give_up() -> None:
    """Fail as a library does that waits for something itself."""
    raise TimeoutError


async def break_off() -> None:
    """Fail as what waits for a task does that was cancelled."""
    raise asyncio.CancelledError


def break_off_in_thread() -> None:
    """Fail so in a thread."""
    raise asyncio.CancelledError


async def leave() -> None:
    """Try to end the process."""
    sys.exit("secret")


def secretive() -> object:
    """Return what is no JSON."""
    return object()


def repeat(text: str, times: int) -> str:
    """Repeat a text."""
    return text * times


async def hang() -> None:
    """Never answer."""
    await asyncio.Event().wait()


def hold() -> str:
    """Answer when the test says so."""
    held.wait(10)
    return "held"


def positional(a: int, /) -> int:
    """Take what has no name to a model."""
    return a


def _is_on_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
