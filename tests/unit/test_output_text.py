"""The text of an output as it streams: how it is filled up, counted, and held back."""

import asyncio

import pytest
from support.output_events import PARTS, written, written_after
from support.output_steps import close, text
from support.turns import a_turn, unchallenged

from turnstream.memory import MemoryBus
from turnstream_worker.event_log import WAITING_BYTES, EventLog
from turnstream_worker.output import OBFUSCATION_BLOCK, Output

SOON = 5  # seconds


@pytest.mark.parametrize("kind", PARTS)
@pytest.mark.parametrize("length", [1, 2, OBFUSCATION_BLOCK - 1, OBFUSCATION_BLOCK, OBFUSCATION_BLOCK + 1, 100])
async def test_deltas_are_filled_up(kind: str, length: int) -> None:
    """Deltas are filled up to full blocks, so that who sees their sizes on the wire learns no lengths of tokens."""
    events, _ = await written(text(kind, "x" * length))
    [event] = [event for event in events if "delta" in event]
    assert (len(event["delta"]) + len(event["obfuscation"])) % OBFUSCATION_BLOCK == 0


@pytest.mark.parametrize("kind", PARTS)
async def test_deltas_without_filling(kind: str) -> None:
    """A client that wants no filling gets none."""
    events, _ = await written_after([], text(kind, "hello"), close(), obfuscate=False)
    assert [event for event in events if "obfuscation" in event] == []


async def test_size() -> None:
    """The size is the number of characters of text so far, of all kinds and over all items."""
    log, state = await EventLog.take_over(MemoryBus(), a_turn(), unchallenged)
    output = Output("resp_1", log, state)
    for step in (text("reasoning_text", "hm"), text("output_text", "hé", "llo"), close(), text("refusal", "no")):
        step(output)
    assert output.size == 9
    await log.flush()


async def test_written() -> None:
    """What is written is the text of the open part alone."""
    log, state = await EventLog.take_over(MemoryBus(), a_turn(), unchallenged)
    output = Output("resp_1", log, state)
    assert output.written == ""
    text("reasoning_text", "hm", ", well")(output)
    assert output.written == "hm, well"
    text("output_text", "hello")(output)
    assert output.written == "hello"
    output.close_item()
    assert output.written == ""
    await log.flush()


async def test_room() -> None:
    """A writer that is faster than the bus waits until it has caught up."""
    bus = MemoryBus()
    log, state = await EventLog.take_over(bus, a_turn(), unchallenged)
    output = Output("resp_1", log, state)
    bus.reachable.clear()
    text("output_text", *["x" * (WAITING_BYTES // 16)] * 20)(output)
    waiting = asyncio.create_task(output.room())
    finished, _ = await asyncio.wait([waiting], timeout=0.02)
    assert not finished
    bus.reachable.set()
    async with asyncio.timeout(SOON):
        await waiting
    await log.flush()
