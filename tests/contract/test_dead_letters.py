"""Dead letters, held against the bus in memory and against a real NATS server alike."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from support.letters import a_letter

from turnstream.bus import Bus, Filed
from turnstream.dead_letter import DeadLetter, Entry
from turnstream.ids import new_id


@pytest.fixture
def tenant() -> str:
    """A tenant of the test's own."""
    return new_id("t-")


async def file(worker: Bus, gateway: Bus, *letters: DeadLetter) -> Sequence[Filed]:
    """File letters as a worker, and return them as a gateway reads them."""
    for letter in letters:
        await worker.dead_letters.file(letter)
    return [filed for letter in letters if (filed := await gateway.dead_letters.get(letter.turn))]


async def test_a_letter_is_read_as_it_was_filed(worker_bus: Bus, gateway_bus: Bus, tenant: str) -> None:
    """A letter that a worker files is found by its turn, with everything that it says."""
    now = datetime.now(UTC)
    steps = [
        Entry(1, "model_call", None, 1, "finished", now - timedelta(seconds=2), now),
        Entry(2, "tool_call", "web_search", 2, "started", now, None),
    ]
    letter = a_letter(tenant, steps=steps)
    [filed] = await file(worker_bus, gateway_bus, letter)
    assert filed.letter == letter
    assert await gateway_bus.dead_letters.get(letter.turn) == filed


async def test_what_nobody_filed_is_not_there(gateway_bus: Bus, tenant: str) -> None:
    """A turn that was not given up has no letter, and a tenant without any has none to list."""
    assert await gateway_bus.dead_letters.get(new_id("resp_")) is None
    assert await gateway_bus.dead_letters.list(tenant, after=0, limit=10) == []


async def test_filing_twice_leaves_one(worker_bus: Bus, gateway_bus: Bus, tenant: str) -> None:
    """A turn that is filed again has one letter, the last."""
    first = a_letter(tenant)
    last = a_letter(tenant, turn=first.turn, attempts=4)
    await file(worker_bus, gateway_bus, first, last)
    assert [filed.letter for filed in await gateway_bus.dead_letters.list(tenant, after=0, limit=10)] == [last]


async def test_listing_by_pages(worker_bus: Bus, gateway_bus: Bus, tenant: str) -> None:
    """Letters are listed in the order of their filing, a page at a time, a tenant's own or everybody's."""
    other = a_letter(new_id("t-"))
    letters = [a_letter(tenant) for _ in range(3)]
    filed = await file(worker_bus, gateway_bus, letters[0], other, *letters[1:])
    own = [one for one in filed if one.letter != other]
    listed = gateway_bus.dead_letters.list
    assert await listed(tenant, after=0, limit=10) == own
    assert await listed(tenant, after=0, limit=2) == own[:2]
    assert await listed(tenant, after=own[1].sequence, limit=2) == own[2:]
    assert await listed(tenant, after=own[2].sequence, limit=2) == []
    assert await listed(None, after=filed[0].sequence - 1, limit=10) == filed


async def test_listing_many(worker_bus: Bus, gateway_bus: Bus, tenant: str) -> None:
    """A page may be as long as the API's longest."""
    filed = await file(worker_bus, gateway_bus, *(a_letter(tenant) for _ in range(101)))
    assert await gateway_bus.dead_letters.list(tenant, after=0, limit=101) == filed


async def test_discarding(worker_bus: Bus, gateway_bus: Bus, tenant: str) -> None:
    """A letter that is discarded is gone, doing so again changes nothing, and others stay."""
    first, second = await file(worker_bus, gateway_bus, a_letter(tenant), a_letter(tenant))
    for _ in range(2):
        await gateway_bus.dead_letters.discard(first)
    assert await gateway_bus.dead_letters.get(first.letter.turn) is None
    assert await gateway_bus.dead_letters.list(tenant, after=0, limit=10) == [second]


async def test_discarding_what_was_filed_again(worker_bus: Bus, gateway_bus: Bus, tenant: str) -> None:
    """Who discards a letter does not discard a newer one that they have not seen."""
    [seen] = await file(worker_bus, gateway_bus, a_letter(tenant))
    [newer] = await file(worker_bus, gateway_bus, a_letter(tenant, turn=seen.letter.turn))
    await gateway_bus.dead_letters.discard(seen)
    assert await gateway_bus.dead_letters.get(seen.letter.turn) == newer
