"""What all kinds of turns are made with."""

from dataclasses import dataclass
from random import Random
from typing import Any

from support.tool_turns import ToolServer

from chaos.client import Client
from chaos.record import Posted, Record

MODEL = "stand-in"


@dataclass(frozen=True)
class TurnMaker:
    """Makes turns, and notes them down before they are posted."""

    client: Client
    tools: ToolServer
    record: Record

    def text(
        self,
        key: str,
        rng: Random,
        *,
        tokens: int | None = None,
        delay_ms: int | None = None,
        calls: int = 1,
        **more: Any,
    ) -> Posted:
        """Return a turn, fast or slow, that is to be posted; with tools it calls one of them so often in a row."""
        tokens = tokens or rng.randint(5, 80)
        delay_ms = rng.choice((0, 5, 30, 60)) if delay_ms is None else delay_ms
        text = f"[stand-in tokens={tokens} delay_ms={delay_ms} calls={calls}] {key}"
        body = {"model": MODEL, "input": text, "metadata": {"key": key}, "stream": True, **more}
        posted = Posted(key, body, tokens=tokens)
        self.record.turns.append(posted)
        return posted
