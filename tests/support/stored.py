"""Turns and conversations in the store, and their items, which hold no more than it looks at."""

from typing import Any

from turnstream.ids import item_id, new_id
from turnstream.store import Store
from turnstream.turns import Item, Outcome, Turn

TENANT, OTHER = "default", "other"
LEASE = 60  # seconds; longer than any test
PLENTY = 1 << 20  # bytes; more than any history here


def item(text: str, owner: str | None = None) -> Item:
    """Make an item of a turn's or a conversation's, with something to know it by."""
    return {"id": item_id("msg_", owner or new_id("resp_")), "text": text}


async def accept(store: Store, *texts: str, tenant: str = TENANT, **refers_to: Any) -> Turn:
    """Accept a new turn whose input items say `texts`."""
    references = {"conversation": None, "previous": None, **refers_to}
    turn = new_id("resp_")
    assert await store.accept(turn, tenant, {"model": "m"}, [item(text, turn) for text in texts], **references)
    accepted = await store.turn(tenant, turn)
    assert accepted is not None
    return accepted


async def claim(store: Store, turn: Turn, owner: str = "a", lease: float = LEASE) -> Turn:
    """Claim a turn that nobody holds."""
    claimed = await store.claim(turn.id, owner, lease)
    assert claimed is not None
    return claimed


async def run(store: Store, *texts: str, status: Any = "completed", **refers_to: Any) -> Turn:
    """Accept, claim and finish a turn that answers `re: <text>` to each of `texts`."""
    turn = await claim(store, await accept(store, *texts, **refers_to))
    return await finish(store, turn, *(f"re: {text}" for text in texts), status=status)


async def finish(store: Store, turn: Turn, *texts: str, status: Any = "completed") -> Turn:
    """Finish and close a turn that was claimed, with answers that say `texts`."""
    await store.finish(turn, Outcome(status, [item(text, turn.id) for text in texts]))
    await store.close([turn.id])
    ended = await store.turn(turn.tenant, turn.id)
    assert ended is not None
    return ended


async def conversation(store: Store, tenant: str = TENANT) -> str:
    """Create a conversation and return its id."""
    return (await store.create_conversation(new_id("conv_"), tenant, {"topic": "x"})).id


async def history(store: Store, turn: Turn) -> list[str]:
    """Return the texts of the items before a turn's own."""
    return [one["text"] for one in await store.history(turn, PLENTY)]


async def texts(store: Store, of: str) -> list[str]:
    """Return the texts of a conversation's items, oldest first."""
    return [one["text"] for one in await store.items(TENANT, of, after=None, limit=1000, newest_first=False)]
