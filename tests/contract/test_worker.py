"""Whole workers on a real store, with a bus in memory and a model that answers when it is told to."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from support.scripted_stack import ScriptedStack, finished, said
from support.stored import LEASE, TENANT

from turnstream.database import Database
from turnstream.fetch import Fetcher
from turnstream.ids import new_id
from turnstream.memory import MemoryBus
from turnstream.secrets import Secrets
from turnstream.store import Store
from turnstream.turns import Turn
from turnstream_worker.attachments import AttachmentLimits, Attachments
from turnstream_worker.chat_stream import Chunk
from turnstream_worker.engine import Engine
from turnstream_worker.model_calls import ModelCalls
from turnstream_worker.run_turn import TurnRunner
from turnstream_worker.sealing import Sealing
from turnstream_worker.settings import WorkerSettings
from turnstream_worker.toolboxes import Toolboxes
from turnstream_worker.tools.tools import Tools
from turnstream_worker.worker import Worker

SOON = 15  # seconds
GONE = -1  # seconds: a lease that is over
QUICKLY = {"beat": 0.05, "dead_after": 1, "heartbeat": 0.2, "lease": LEASE, "lost_after": LEASE, "grace": 0.1}
SETTINGS = WorkerSettings.model_validate({"nats_url": "nats://n", "postgres_dsn": "postgresql://p", **QUICKLY})


class PatientStack(ScriptedStack):
    """Begins each answer at once, and ends it when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.under_way = 0
        self.most_at_once = 0
        self._told = asyncio.Semaphore(0)

    async def chat(self, request: dict[str, Any]) -> AsyncIterator[list[Chunk]]:
        """Say something, wait, and say the rest."""
        self.requests.append(request)
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)
        try:
            yield [said("to be ")]
            await self._told.acquire()
            for piece in ("con", "tinu", "ed"):
                yield [said(piece)]
                await asyncio.sleep(0.01)  # a model takes its time
            yield [finished()]
        finally:
            self.under_way -= 1

    def tell(self, answers: int = 1) -> None:
        """Let so many answers come to their end."""
        for _ in range(answers):
            self._told.release()

    def hold(self) -> None:
        """Let no answer come to its end that has not yet."""
        self._told = asyncio.Semaphore(0)


type Start = Callable[[], PatientStack]


@pytest.fixture
def bus() -> MemoryBus:
    """A bus that nothing comes again on by itself."""
    return MemoryBus(ack_wait=LEASE)


@pytest.fixture
async def start(bus: MemoryBus, store: Store, database: Database) -> AsyncIterator[Start]:
    """Start workers, and return what their models are; they end with the test, and find no other test's turns."""
    await database.run("DELETE FROM open_turns")
    stop, tools = asyncio.Event(), Tools(SETTINGS)
    async with asyncio.TaskGroup() as workers:

        def start() -> PatientStack:
            stack = PatientStack()
            attachments = Attachments(Fetcher(SETTINGS), AttachmentLimits(1, 1, 1))
            models = ModelCalls(stack, Sealing(b"k" * 32), SETTINGS)
            engine = Engine(models, attachments, Toolboxes(tools, Secrets(None), SETTINGS.max_journal), SETTINGS)
            workers.create_task(Worker(bus, store, TurnRunner(bus, store, engine, SETTINGS), SETTINGS).run(stop))
            return stack

        yield start
        stop.set()
    await tools.close()
    await database.run("DELETE FROM open_turns")


async def accept(bus: MemoryBus, store: Store, *, deaths: int = 0, **asked: Any) -> str:
    """Accept and queue a turn whose first attempts have died."""
    turn = new_id("resp_")
    said = [{"type": "message", "id": "msg_1", "role": "user", "content": [{"type": "input_text", "text": "hello"}]}]
    assert await store.accept(turn, TENANT, {"model": "m", **asked}, said, conversation=None, previous=None)
    for death in range(deaths):
        assert await store.claim(turn, f"dead_{death}/x", GONE)
    await bus.enqueue(TENANT, turn, turn, patience=1)
    return turn


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(SOON):
        while not condition():  # noqa: ASYNC110 - what is looked at signals nothing
            await asyncio.sleep(0.02)


async def ended(store: Store, *turns: str) -> list[Turn]:
    """Wait until turns have ended, and return them."""
    async with asyncio.timeout(SOON):
        found = [await store.turn(TENANT, turn) for turn in turns]
        while not all(turn and turn.output is not None for turn in found):
            await asyncio.sleep(0.02)
            found = [await store.turn(TENANT, turn) for turn in turns]
    return [turn for turn in found if turn]


# Last attempts, which have to be alone


async def test_last_attempts_go_to_all_workers(bus: MemoryBus, store: Store, start: Start) -> None:
    """Each worker runs one last attempt at a time, and keeps no other from the rest; waiting uses no attempt up."""
    turns = [await accept(bus, store, deaths=1, max_attempts=2) for _ in range(5)]
    models = [start(), start()]
    await until(lambda: all(model.under_way for model in models))
    third = start()
    await until(lambda: third.under_way == 1)
    for model in (*models, third):
        model.tell(len(turns))
    assert {turn.status for turn in await ended(store, *turns)} == {"completed"}
    assert [model.most_at_once for model in (*models, third)] == [1, 1, 1]


async def test_first_attempts_go_elsewhere(bus: MemoryBus, store: Store, start: Start) -> None:
    """While a turn is alone in its worker, what its worker would have taken is run by another."""
    alone = start()
    last = await accept(bus, store, deaths=1, max_attempts=2)
    await until(lambda: alone.under_way == 1)
    other = start()
    other.tell(4)
    assert {turn.status for turn in await ended(store, *[await accept(bus, store) for _ in range(4)])} == {"completed"}
    assert len(alone.requests) == 1
    alone.tell()
    assert [turn.status for turn in await ended(store, last)] == ["completed"]


async def test_overdue_while_it_waits_to_be_alone(bus: MemoryBus, store: Store, start: Start) -> None:
    """A last attempt that waits for another turn's end is no longer open than its deadline says, and runs nothing."""
    model = start()
    before = await accept(bus, store)
    await until(lambda: model.under_way == 1)
    [overdue] = await ended(store, await accept(bus, store, deaths=1, max_attempts=2, deadline=1))
    assert (overdue.status, overdue.incomplete) == ("incomplete", {"reason": "deadline"})
    assert len(model.requests) == 1
    model.tell()
    assert [turn.status for turn in await ended(store, before)] == ["completed"]


async def test_overdue_while_it_is_alone(bus: MemoryBus, store: Store, start: Start) -> None:
    """A last attempt that is alone ends at its deadline like any other, and the worker goes on with others."""
    model = start()
    [overdue] = await ended(store, await accept(bus, store, deaths=1, max_attempts=2, deadline=1))
    assert (overdue.status, overdue.incomplete) == ("incomplete", {"reason": "deadline"})
    model.tell()
    assert [turn.status for turn in await ended(store, await accept(bus, store))] == ["completed"]


# Turns that are interrupted


async def interrupt(bus: MemoryBus, model: PatientStack) -> None:
    """Let the bus be away for longer than a turn tries to reach it, in the middle of its answer."""
    await until(lambda: model.under_way == 1)
    bus.away = 1000
    model.tell()
    await until(lambda: model.under_way == 0)
    model.hold()  # it may have been broken off before it went on
    bus.away = 0


async def test_interruptions_use_no_attempt_up(bus: MemoryBus, store: Store, start: Start) -> None:
    """A turn that may be begun once goes on over any number of outages, for none of which it is to blame."""
    model = start()
    turn = await accept(bus, store, max_attempts=1)
    for _ in range(3):
        await interrupt(bus, model)
    model.tell()
    [completed] = await ended(store, turn)
    assert (completed.status, len(model.requests)) == ("completed", 4)
    assert [item["content"][0]["text"] for item in completed.output or ()] == ["to be continued"]


async def test_interrupted_last_attempt(bus: MemoryBus, store: Store, start: Start) -> None:
    """A last attempt after a death is no other attempt for an outage, and lets others in again."""
    model = start()
    turn = await accept(bus, store, deaths=1, max_attempts=2)
    await interrupt(bus, model)
    await until(lambda: model.under_way == 1)
    model.tell(2)
    assert {one.status for one in await ended(store, turn, await accept(bus, store))} == {"completed"}
