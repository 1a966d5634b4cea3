"""How a turn is brought to its end, on a real store."""

from typing import Any, cast

import pytest
from support.stored import TENANT, accept

from turnstream import subjects
from turnstream.events import decode
from turnstream.memory import MAX_PAYLOAD, MemoryBus
from turnstream.store import Store
from turnstream.subjects import INTERACTIVE
from turnstream.turns import Item, Outcome, Turn
from turnstream_worker.engine import Engine
from turnstream_worker.output import Output
from turnstream_worker.run_turn import Running, TurnRunner
from turnstream_worker.settings import WorkerSettings

GONE = -1  # seconds: a lease that is over
SETTINGS = WorkerSettings(nats_url="nats://n", postgres_dsn="postgresql://p")


class Wordy:
    """An engine whose turns say more than one event can hold, and stream it or not."""

    def __init__(self, *, streams: bool) -> None:
        self.streams = streams

    def time_left(self, _: Turn) -> float:
        """Return plenty."""
        return 60

    async def run(self, turn: Turn, history: list[Item], output: Output, *_: object) -> Outcome:  # noqa: ARG002 - as any engine
        """Say it."""
        if self.streams:
            for _piece in range(10):
                output.text("output_text", "x" * (MAX_PAYLOAD // 9))
            output.hold_item("completed")
            output.announce(output.items)
        return Outcome("completed", too_much(turn))


def too_much(turn: Turn) -> list[Item]:
    """Make output that one event cannot hold, of items that each fit into one."""
    part = {"type": "output_text", "text": "x" * (MAX_PAYLOAD // 3), "annotations": [], "logprobs": []}
    message = {"type": "message", "role": "assistant", "status": "completed", "content": [part]}
    return [{**message, "id": f"{turn.id}_{n}"} for n in range(3)]


async def run(bus: MemoryBus, store: Store, turn: Turn, engine: Wordy | None = None) -> Turn:
    """Have a worker run a turn, and return the turn as it then is."""
    await bus.enqueue(TENANT, turn.id, "again", patience=1)
    async with bus.work(INTERACTIVE, 1) as queue:
        delivery = await queue.next()
        runner = TurnRunner(bus, store, cast("Engine", engine), SETTINGS)
        await runner.run(Running(delivery, turn.id, "worker_1/y"))
    assert runner.ended == [turn.id]
    ended = await store.turn(TENANT, turn.id)
    assert ended is not None
    return ended


async def first_and_last(bus: MemoryBus, turn: Turn) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the events that a turn's log begins and ends with."""
    subject = subjects.events(TENANT, turn.id)
    first, *_, last = [decode(line) async for stored in bus.replay(subject, 0) for line in stored.batch.lines]
    return first, last


@pytest.mark.parametrize("streams", [True, False])
async def test_more_than_the_last_event_can_hold(store: Store, streams: bool) -> None:
    """A turn that came to more than one event can hold has failed for that, in the store and in its log."""
    bus, turn = MemoryBus(), await accept(store, "a")
    ended = await run(bus, store, turn, Wordy(streams=streams))
    _, last = await first_and_last(bus, turn)
    assert (last["type"], last["response"]["status"], ended.status) == ("response.failed", "failed", "failed")
    assert last["response"]["error"] == ended.error
    assert (ended.error or {})["code"] == "response_too_large"
    assert last["response"]["output"] == ended.output == []


async def test_end_that_cannot_be_told(store: Store) -> None:
    """A turn that has ended and whose last event cannot be made, attempt by attempt, gets a last event all the same."""
    bus, turn = MemoryBus(), await accept(store, "a")
    claimed = await store.claim(turn.id, "dead/x", GONE)
    assert claimed is not None
    await store.finish(claimed, Outcome("completed", too_much(turn)))
    for attempt in range(2 * SETTINGS.max_attempts):
        assert await store.claim(turn.id, f"dead_{attempt}/x", GONE)
    ended = await run(bus, store, turn)
    first, last = await first_and_last(bus, turn)
    assert (first["type"], first["response"]["output"]) == ("response.created", [])
    assert (last["type"], last["response"]["error"]["code"]) == ("response.failed", "response_untold")
    assert ended.output == too_much(turn)


async def test_cancelled_when_all_attempts_have_died(store: Store) -> None:
    """A turn whose client cancelled it has ended as cancelled, without an error, and there is nothing to run again."""
    bus, turn = MemoryBus(), await accept(store, "a")
    for attempt in range(SETTINGS.max_attempts):
        assert await store.claim(turn.id, f"dead_{attempt}/x", GONE)
    assert await store.cancel(TENANT, turn.id)
    await bus.enqueue(TENANT, turn.id, "again", patience=1)
    async with bus.work(INTERACTIVE, 1) as queue:
        delivery = await queue.next()
        await TurnRunner(bus, store, cast("Engine", None), SETTINGS).run(Running(delivery, turn.id, "worker_1/y"))
    ended = await store.turn(TENANT, turn.id)
    assert ended is not None
    assert (ended.status, ended.error) == ("cancelled", None)
    assert await bus.dead_letters.get(turn.id) is None
