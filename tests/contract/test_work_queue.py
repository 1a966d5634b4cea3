"""The queue of turns, held against the bus in memory and against a real NATS server alike."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from turnstream.bus import Bus, Delivery, WorkQueue
from turnstream.bus.provision import Depth
from turnstream.errors import QueueFullError
from turnstream.ids import new_id
from turnstream.subjects import DEFAULT_TENANT, INTERACTIVE

SOON = 5  # seconds within which what is to come comes


@pytest.fixture
def turn() -> str:
    """A turn that was not queued yet."""
    return new_id("resp_")


@pytest.fixture
async def queue(worker_bus: Bus) -> AsyncIterator[WorkQueue]:
    """A worker's queue with room for two."""
    async with worker_bus.work(INTERACTIVE, 2) as opened:
        yield opened


async def take(queue: WorkQueue, within: float = SOON) -> Delivery:
    """Return the next delivery; raise TimeoutError if there is none in time."""
    async with asyncio.timeout(within):
        return await queue.next()


async def enqueue(bus: Bus, turn: str, message_id: str | None = None) -> None:
    """Queue a turn."""
    await bus.enqueue(DEFAULT_TENANT, turn, message_id or turn, patience=SOON)


async def test_queued_turn_is_delivered_until_acknowledged(
    gateway_bus: Bus, queue: WorkQueue, turn: str, ack_wait: float
) -> None:
    """A queued turn is delivered, and never again once it is acknowledged."""
    await enqueue(gateway_bus, turn)
    delivery = await take(queue)
    assert delivery.data == turn.encode()
    await delivery.ack()
    queue.release()
    with pytest.raises(TimeoutError):
        await take(queue, 2 * ack_wait)


async def test_same_id_queues_once(gateway_bus: Bus, queue: WorkQueue, turn: str) -> None:
    """A turn that is queued twice under one message id is delivered once; another id is another message."""
    for message_id in (turn, turn, f"{turn}-again"):
        await enqueue(gateway_bus, turn, message_id)
    for _ in range(2):
        await (await take(queue)).ack()
        queue.release()
    with pytest.raises(TimeoutError):
        await take(queue, 0.1)


async def test_capacity_is_respected(gateway_bus: Bus, queue: WorkQueue) -> None:
    """No more are delivered than there is room for, acknowledged or not, until one is released."""
    turns = [new_id("resp_") for _ in range(3)]
    for turn in turns:
        await enqueue(gateway_bus, turn)
    held = [await take(queue), await take(queue)]
    await held[0].ack()
    with pytest.raises(TimeoutError):
        await take(queue, 0.1)
    queue.release()
    held.append(await take(queue))
    assert [delivery.data.decode() for delivery in held] == turns
    for delivery in held[1:]:
        await delivery.ack()


async def test_untaken_is_given_back(gateway_bus: Bus, worker_bus: Bus, queue: WorkQueue, ack_wait: float) -> None:
    """What was delivered to one that does not take it goes to another at once, when that one gives it back."""
    turns = [new_id("resp_") for _ in range(2)]
    for turn in turns:
        await enqueue(gateway_bus, turn)
    taken = await take(queue)
    async with worker_bus.work(INTERACTIVE, 1) as other:
        taking = asyncio.create_task(take(other, ack_wait / 2))
        while not taking.done():
            await queue.give_back()
            await asyncio.wait([taking], timeout=0.02)
        assert [taken.data.decode(), (await taking).data.decode()] == turns
    for delivery in (taken, await taking):
        await delivery.ack()


async def test_given_back_comes_again_after_its_delay(gateway_bus: Bus, queue: WorkQueue, turn: str) -> None:
    """A delivery that is given back comes again after its delay, and at once without one."""
    loop = asyncio.get_running_loop()
    await enqueue(gateway_bus, turn)
    for delay in (0.3, 0):
        await (await take(queue)).nak(delay)
        given_back = loop.time()
        queue.release()
        again = await take(queue)
        assert delay <= loop.time() - given_back + 0.02
        assert again.data == turn.encode()
        await again.nak(0)
        queue.release()
    await (await take(queue)).ack()


async def test_given_back_by_another(gateway_bus: Bus, worker_bus: Bus, queue: WorkQueue, turn: str) -> None:
    """A delivery that another gives back, by its receipt, comes again at once, before those that wait."""
    await enqueue(gateway_bus, turn)
    delivery = await take(queue)
    for later in ("a", "b"):
        await enqueue(gateway_bus, f"{turn}{later}")
    other = await take(queue)
    await worker_bus.give_back(delivery.receipt)
    async with worker_bus.work(INTERACTIVE, 2) as others:
        deliveries = [await take(others) for _ in range(2)]
    assert {again.data.decode() for again in deliveries} == {turn, f"{turn}b"}
    for settled in (*deliveries, other):
        await settled.ack()


async def test_how_long_the_queue_has_waited(
    gateway_bus: Bus, worker_bus: Bus, queue: WorkQueue, turn: str, ack_wait: float
) -> None:
    """What waits longest says how long; what was delivered waits no more, whether it is settled or comes again."""
    assert await worker_bus.waited(INTERACTIVE) is None
    for name in ("a", "b", "c"):
        await enqueue(gateway_bus, f"{turn}{name}")
    deliveries = [await take(queue) for _ in range(2)]
    [first, second] = [await worker_bus.waited(INTERACTIVE) for _ in range(2)]
    assert first is not None
    assert second is not None
    assert 0 <= first < second < SOON
    await deliveries[0].nak(ack_wait)
    await deliveries[1].ack()
    queue.release()
    await (await take(queue)).ack()
    assert await worker_bus.waited(INTERACTIVE) is None
    queue.release()
    queue.release()
    await (await take(queue)).ack()


async def test_silent_delivery_comes_again(gateway_bus: Bus, queue: WorkQueue, turn: str, ack_wait: float) -> None:
    """A delivery that nobody settles comes again after the ack wait, and not before."""
    loop = asyncio.get_running_loop()
    await enqueue(gateway_bus, turn)
    await take(queue)
    taken = loop.time()
    again = await take(queue)
    assert loop.time() - taken > 0.8 * ack_wait
    assert again.data == turn.encode()
    await again.ack()


async def test_sign_of_life_prolongs(gateway_bus: Bus, queue: WorkQueue, turn: str, ack_wait: float) -> None:
    """A delivery whose worker shows signs of life does not come again, for longer than the ack wait."""
    await enqueue(gateway_bus, turn)
    delivery = await take(queue)
    for _ in range(4):
        with pytest.raises(TimeoutError):
            await take(queue, ack_wait / 2)
        await delivery.in_progress()
    await delivery.ack()


async def test_stopped_queue_gives_back_what_was_not_taken(gateway_bus: Bus, worker_bus: Bus, ack_wait: float) -> None:
    """What a queue was sent and nobody took is somebody else's at once when it stops, and it is sent nothing more."""
    turns = [new_id("resp_") for _ in range(3)]
    async with worker_bus.work(INTERACTIVE, 2) as stopping:
        for turn in turns[:2]:
            await enqueue(gateway_bus, turn)
        taken = await take(stopping)
        await stopping.stop()
        await enqueue(gateway_bus, turns[2])
        async with worker_bus.work(INTERACTIVE, 3) as other, asyncio.timeout(ack_wait / 2):
            rest = [await other.next() for _ in range(2)]
        for delivery in (taken, *rest):
            await delivery.ack()
    assert sorted(delivery.data.decode() for delivery in (taken, *rest)) == sorted(turns)


# Its depth


async def fill(bus: Bus, tenant: str) -> int:
    """Queue turns of a tenant until no more are taken; return how many were."""
    for number in range(100):
        try:
            await bus.enqueue(tenant, new_id("resp_"), new_id("message-"), patience=SOON)
        except QueueFullError:
            return number
    pytest.fail("the queue takes any number")


async def test_a_tenants_queue_is_full(gateway_bus: Bus, shallow: Depth) -> None:
    """A tenant's turns are refused once as many are queued as may be, and another tenant's are taken."""
    assert await fill(gateway_bus, "one") == shallow.per_subject
    with pytest.raises(QueueFullError, match="per subject"):
        await gateway_bus.enqueue("one", new_id("resp_"), new_id("message-"), patience=SOON)
    await gateway_bus.enqueue("two", new_id("resp_"), new_id("message-"), patience=SOON)


async def test_the_whole_queue_is_full(gateway_bus: Bus, shallow: Depth) -> None:
    """Turns are refused, whosever they are, once as many are queued in all as may be."""
    assert sum([await fill(gateway_bus, tenant) for tenant in ("one", "two", "three")]) == shallow.whole
    with pytest.raises(QueueFullError, match="maximum messages exceeded"):
        await gateway_bus.enqueue("four", new_id("resp_"), new_id("message-"), patience=SOON)


async def test_what_is_queued_is_not_refused(gateway_bus: Bus, shallow: Depth, turn: str) -> None:
    """A turn that is sent again, since its answer was lost, is found queued in a full queue too."""
    await enqueue(gateway_bus, turn)
    assert await fill(gateway_bus, DEFAULT_TENANT) == shallow.per_subject - 1
    await enqueue(gateway_bus, turn)
    with pytest.raises(QueueFullError):
        await enqueue(gateway_bus, turn, f"{turn}-again")


async def test_room_is_made_by_what_ends(gateway_bus: Bus, queue: WorkQueue, shallow: Depth) -> None:
    """A turn that runs takes its place until it is acknowledged; then there is room for one more."""
    assert await fill(gateway_bus, DEFAULT_TENANT) == shallow.per_subject
    delivery = await take(queue)
    assert await fill(gateway_bus, DEFAULT_TENANT) == 0
    await delivery.ack()
    queue.release()
    assert await fill(gateway_bus, DEFAULT_TENANT) == 1
