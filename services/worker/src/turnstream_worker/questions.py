"""Questions about a turn that is not run: how many tokens it would read, and what it would be summed up to."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import Any

import orjson

from turnstream import subjects
from turnstream.ids import new_id
from turnstream.store import Store
from turnstream.turns import Turn
from turnstream_worker.engine import Engine
from turnstream_worker.history import read_history


class Questions:
    """Answers questions by an engine. Nothing of them is kept."""

    def __init__(self, engine: Engine, store: Store, max_history: int) -> None:
        self._engine = engine
        self._store = store
        self._max_history = max_history  # bytes

    async def answer(self, subject: str, body: bytes) -> AsyncGenerator[bytes]:
        """Yield the answer to a question, as JSON; raise TurnError."""
        turn = _turn(orjson.loads(body))
        history = await read_history(self._store, turn, self._max_history)
        if subject == subjects.COUNT_TOKENS:
            yield orjson.dumps(await self._engine.count_tokens(turn, history))
        else:
            output, usage = await self._engine.compact(turn, history)
            yield orjson.dumps({"output": output, "usage": usage})


def _turn(asked: dict[str, Any]) -> Turn:
    """Return a question as the turn that it would be."""
    return Turn(
        id=new_id("resp_"),
        tenant=asked["tenant"],
        status="running",
        conversation=asked["conversation"],
        previous=asked["previous"],
        request=asked["request"],
        input=asked["input"],
        output=None,
        usage=None,
        error=None,
        incomplete=None,
        attempt=0,
        handovers=0,
        stored=False,
        kept=False,
        secrets=None,
        service_tier=None,
        created_at=datetime.now(UTC),
        completed_at=None,
    )
