"""The store: turns, conversations and items in Postgres, which is the truth."""

from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import timedelta
from typing import Any

import orjson

from turnstream.database import Database, Row, named_queries
from turnstream.errors import (
    BusyError,
    ConversationGoneError,
    FencedError,
    HistoryTooLongError,
    KeyTakenError,
    PreviousGoneError,
)
from turnstream.ids import owner_of
from turnstream.steps import ApprovedCall, Step
from turnstream.turns import Accepted, Conversation, Item, Lost, Outcome, Turn

CHAIN_LIMIT = 1000  # turns that previous_response_id may lead back through
LINE_LIMIT = 100  # turns of a conversation that may wait for each other

_SQL = named_queries("turnstream")
_NONE: tuple[list[object], ...] = ([], [], [])  # no approval that a call is begun with
_TURN_COLUMNS = [field.name for field in fields(Turn)]


class Store:
    """Turns, conversations and items. Every call raises StoreUnavailableError where the database does."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # Turns

    async def accept(  # noqa: PLR0913 - a turn's columns
        self,
        turn: str,
        tenant: str,
        request: dict[str, Any],
        items: list[Item],
        *,
        conversation: str | None,
        previous: str | None,
        stored: bool = True,
        key: str | None = None,
        fingerprint: bytes | None = None,
        secrets: bytes | None = None,
        line_limit: int = LINE_LIMIT,
    ) -> Accepted | None:
        """Store a new turn, and return it or the turn that has its idempotency key already.

        Returns None, and stores nothing, if what it refers to is not this tenant's or has not ended. Raises BusyError
        if more than `line_limit` turns of its conversation have not ended, and KeyTakenError if the key came with
        another body, by its fingerprint, before.
        """
        values = (turn, tenant, conversation, previous, request, items, key, fingerprint, stored, request.get("model"))
        deadline = timedelta(seconds=request["deadline"]) if "deadline" in request else None
        rows = await self._run("accept", *values, secrets, line_limit, deadline)
        if rows:
            return Accepted(turn, list(rows[0]["ahead"]))
        # Not stored now: it was by a try whose answer was lost, or by an earlier request with its key, or not at all.
        rows = await self._run("accepted", turn, tenant, key, fingerprint)
        if rows and rows[0]["id"] != turn and not rows[0]["same"]:
            raise KeyTakenError(f"the key of {rows[0]['id']} came with another body")
        if rows:
            return Accepted(rows[0]["id"], list(rows[0]["ahead"]))
        line = await self._run("line", conversation, tenant) if conversation else ()
        if line and line[0]["length"] > line_limit:
            raise BusyError(f"{line[0]['length']} turns of {conversation} have not ended")
        return None

    async def retried(self, tenant: str, fingerprint: bytes, since: str) -> Accepted | None:
        """Return the newest turn that came with this body and whose id was made after the id `since`."""
        rows = await self._run("retried", tenant, since, fingerprint)
        return Accepted(rows[0]["id"], list(rows[0]["ahead"])) if rows else None

    async def withdraw(self, turn: str) -> tuple[bool, str | None]:
        """Take back a turn, unless a worker has claimed it, and let the next turn of its conversation go on.

        Returns whether it was there, and the next turn, which is to be queued now.
        """
        rows = await self._run("withdraw", turn)
        return bool(rows), rows[0]["next"] if rows else None

    async def turn(self, tenant: str, turn: str) -> Turn | None:
        """Return a tenant's turn."""
        return _turn(await self._run("turn", turn, tenant))

    async def turns(  # noqa: PLR0913 - a page's bounds
        self,
        tenant: str,
        *,
        after: str | None,
        before: str | None,
        model: str | None,
        limit: int,
        newest_first: bool,
    ) -> list[Turn]:
        """Return up to `limit` of a tenant's turns behind the turn `after` and ahead of the turn `before`."""
        name = "turns_descending" if newest_first else "turns_ascending"
        rows = await self._run(name, tenant, after, before, model, limit)
        return [_as_turn(row) for row in rows]

    async def delete_turn(self, tenant: str, turn: str) -> bool:
        """Delete a turn that has ended; tell whether there was one."""
        return bool(await self._run("delete_turn", turn, tenant))

    async def claim(self, turn: str, owner: str, lease: float) -> Turn | None:
        """Take a turn for `lease` seconds and raise its attempt; return None if it is held or gone."""
        rows = await self._run("claim", turn, owner, timedelta(seconds=lease))
        if rows and rows[0]["finished"] and rows[0]["output"] is None:
            # It was finished while the claim waited for its row: what it read of the turn is from before.
            rows = await self._run("claim", turn, owner, timedelta(seconds=lease))
        return _turn(rows)

    async def check_claim(self, turn: Turn) -> None:
        """Raise FencedError if a later attempt than this one has claimed the turn, or it is open no more."""
        if not await self._run("claimed", turn.id, turn.attempt):
            raise FencedError(f"attempt {turn.attempt} of {turn.id} is not the last")

    async def renew(self, held: dict[str, str], lease: float, *, patience: float) -> dict[str, bool]:
        """Prolong the leases of turns (owner to id) by `lease` seconds.

        Returns the owners that still have theirs, each with whether its turn was cancelled meanwhile.
        """
        values = (list(held.values()), list(held), timedelta(seconds=lease))
        rows = await self._run("renew", *values, patience=patience)
        return {row["owner"]: row["cancelled"] for row in rows}

    async def release(self, turn: Turn, owner: str, *, patience: float | None = None) -> None:
        """Give up a turn that has not ended, so that it can be claimed at once."""
        await self._run("release", turn.id, owner, turn.handovers + 1, patience=patience)

    async def excuse(self, turn: Turn, owner: str, *, excused: bool) -> None:
        """Say whether an attempt is not to count, should its worker die now; raise FencedError if it is not the last.

        It counts, unless this was said.
        """
        if not await self._run("excuse", turn.id, owner, turn.handovers + excused):
            raise FencedError(f"{owner} holds {turn.id} no more")

    async def finish(self, turn: Turn, outcome: Outcome) -> tuple[Turn, str | None]:
        """End a turn, extend its conversation and let the next turn of it go on, all in one transaction.

        Returns the row as it then is, and the next turn, which is to be queued now.
        The first end wins: a turn that was cancelled meanwhile stays so. Raises FencedError if another attempt has it.
        """
        items = [*turn.input, *outcome.output]
        rows = await self._run(
            "finish",
            turn.id,
            turn.attempt,
            outcome.status,
            outcome.output,
            outcome.usage,
            outcome.error,
            outcome.incomplete,
            [item["id"] for item in items],
            items,
            outcome.service_tier,
            [item.get("status") != "incomplete" for item in items],
        )
        # No row: fenced, or the statement was sent twice because its first answer was lost.
        rows = rows or await self._run("finished", turn.id, turn.attempt)
        if not rows:
            raise FencedError(f"attempt {turn.attempt} of {turn.id} is not the last")
        ended = replace(
            turn,
            status=rows[0]["status"],
            completed_at=rows[0]["completed_at"],
            output=outcome.output,
            usage=outcome.usage,
            error=rows[0]["error"],
            incomplete=rows[0]["incomplete"],
            service_tier=outcome.service_tier,
            secrets=None,
        )
        return ended, rows[0]["next"]

    async def close(self, turns: list[str], *, patience: float | None = None) -> None:
        """Forget that turns were open: they have ended, and their last events are stored."""
        await self._run("close", turns, patience=patience)

    async def closed(self, turn: str) -> bool:
        """Tell whether a turn has ended and its last event is stored, or it is gone."""
        return bool((await self._run("closed", turn))[0]["closed"])

    async def cancel(self, tenant: str, turn: str) -> Turn | None:
        """End a turn as cancelled if it has not ended; return it then."""
        return _turn(await self._run("cancel", turn, tenant))

    async def cancel_line(self, tenant: str, turns: Sequence[str], *, keep: bool) -> list[str]:
        """End turns as cancelled for one behind them in their conversation; return those that had not ended.

        `keep` says whether their conversation keeps their input and what they had finished.
        """
        return [row["id"] for row in await self._run("cancel_line", turns, keep, tenant)]

    async def forget(self, turn: Turn) -> None:
        """Erase what a turn that has ended asked and answered; only that it was there stays."""
        await self._run("forget", turn.id, {"model": turn.request["model"], "store": False})

    async def journal(self, turn: Turn, steps: Sequence[Step]) -> None:
        """Write steps, new ones or those that have gone on, in one transaction; raise FencedError.

        An approval that a call is begun with is the call's from then on, unless another one has it.
        """
        columns = zip(*map(_columns, steps), strict=True)
        begun = [step for step in steps if step.state == "started" and step.approval]
        approvals = zip(*((step.approval, step.number, step.call) for step in begun), strict=True) if begun else _NONE
        if not await self._run("journal", turn.id, turn.attempt, *map(list, columns), *approvals):
            raise FencedError(f"attempt {turn.attempt} of {turn.id} is not the last")

    async def approved(self, tenant: str, request: str) -> ApprovedCall | None:
        """Return the call that the approval of a tenant's request has gone to, if one was begun with it."""
        rows = await self._run("approved", tenant, request)
        return ApprovedCall(**rows[0]) if rows else None

    async def steps(self, turn: str) -> list[Step]:
        """Return a turn's journal, in order."""
        return [Step(**row) for row in await self._run("steps", turn)]

    async def referenced(self, tenant: str, items: list[str], conversation: str | None) -> dict[str, Item]:
        """Return those of these items that stand in the tenant's turns and conversations, by id."""
        turns = [owner_of(item, "resp_") for item in items]
        conversations = [owner_of(item, "conv_") for item in items] + [conversation]
        found = [row["data"] for row in await self._run("referenced", conversations, tenant, items)]
        for row in await self._run("referenced_turns", turns, tenant):
            found += [*row["input"], *(row["output"] or [])]
        return {item["id"]: item for item in found if item["id"] in items}

    async def history(self, turn: Turn, limit: int) -> list[Item]:
        """Return the items that stand before a turn's own.

        Raises ConversationGoneError or PreviousGoneError if what they stood in was deleted, also in part, and
        HistoryTooLongError for more than `limit` bytes of them, or more than CHAIN_LIMIT turns in a chain.
        """
        if turn.conversation:
            return await self._items_before(turn.tenant, turn.conversation, turn.id, limit)
        if turn.previous:
            return await self._chain(turn.tenant, turn.previous, limit)
        return []

    async def _items_before(self, tenant: str, conversation: str, turn: str, limit: int) -> list[Item]:
        rows = await self._run("items_before", conversation, turn, limit, tenant)
        if not rows:
            raise ConversationGoneError(f"{conversation} was deleted")
        if rows[0]["position"] is None:
            return []
        if rows[0]["data"] is None:
            raise HistoryTooLongError(f"{conversation} holds more than {limit} bytes")
        return [row["data"] for row in rows]

    async def _chain(self, tenant: str, last: str, limit: int) -> list[Item]:
        chain = await self._run("chain", last, tenant, CHAIN_LIMIT, limit)
        if chain and chain[0]["input"] is None:
            raise HistoryTooLongError(f"{last} follows more than {CHAIN_LIMIT} turns or {limit} bytes")
        if not chain or chain[0]["previous"]:
            raise PreviousGoneError(f"{chain[0]['previous'] if chain else last} was deleted")
        items: list[Item] = []
        if chain[0]["conversation"]:
            # The chain begins in a conversation, which is its past.
            items += await self._items_before(tenant, chain[0]["conversation"], chain[0]["id"], limit)
        for row in chain:
            items += row["input"]
            items += row["output"] or []
        return items

    # Turns that nobody runs

    async def owners(self, *, patience: float | None = None) -> list[str]:
        """Return the workers that hold turns."""
        return [row["worker"] for row in await self._run("owners", patience=patience)]

    async def take_over(self, workers: list[str], limit: int, *, patience: float | None = None) -> list[str]:
        """Free up to `limit` turns that dead workers hold; return what their messages are given back by, in order."""
        return [row["receipt"] for row in await self._run("take_over", workers, limit, patience=patience)]

    async def lost(self, seconds: float, limit: int, *, patience: float | None = None) -> list[Lost]:
        """Return up to `limit` turns that are to be queued again, since they could run and have not for some time.

        Their owner's lease is over, or nobody has claimed them although they were queued so many seconds ago. From now
        on they count as queued.
        """
        rows = await self._run("lost", timedelta(seconds=seconds), limit, patience=patience)
        return [Lost(row["tenant"], row["turn"], f"{row['turn']}:{row['attempt']}:{row['queued_at']}") for row in rows]

    async def overdue(self, deadline: float, limit: int, *, patience: float | None = None) -> list[str]:
        """Return up to `limit` turns that nobody runs although their time is over.

        That is `deadline` seconds after they were accepted, where they don't say themselves. From now on they can be
        claimed, whatever they wait for; they count as queued.
        """
        rows = await self._run("overdue", timedelta(seconds=deadline), limit, patience=patience)
        return [row["turn"] for row in rows]

    async def secret(self, name: str) -> bytes:
        """Return a secret of the deployment, which its migrations made."""
        return bytes((await self._run("secret", name))[0]["value"])

    # Conversations

    async def create_conversation(
        self, conversation: str, tenant: str, metadata: dict[str, Any], items: list[Item] | None = None
    ) -> Conversation:
        """Store a conversation, with its first items."""
        first = items or []
        values = (conversation, tenant, metadata, [item["id"] for item in first], first)
        return _conversation(await self._run("create_conversation", *values))[0]

    async def conversation(self, tenant: str, conversation: str) -> Conversation | None:
        """Return a tenant's conversation."""
        found = _conversation(await self._run("conversation", conversation, tenant))
        return found[0] if found else None

    async def update_conversation(
        self, tenant: str, conversation: str, metadata: dict[str, Any]
    ) -> Conversation | None:
        """Replace a conversation's metadata; return it, if it is there."""
        found = _conversation(await self._run("update_conversation", conversation, tenant, metadata))
        return found[0] if found else None

    async def delete_conversation(self, tenant: str, conversation: str) -> list[str] | None:
        """Delete a conversation and its items; return its turns that have not ended, or None if there was none."""
        rows = await self._run("delete_conversation", conversation, tenant)
        return list(rows[0]["line"]) if rows else None

    async def items(
        self, tenant: str, conversation: str, *, after: str | None, limit: int, newest_first: bool
    ) -> list[Item]:
        """Return up to `limit` items of a tenant's conversation behind the item `after`."""
        name = "items_descending" if newest_first else "items_ascending"
        return [row["data"] for row in await self._run(name, conversation, tenant, after, limit)]

    async def add_items(self, tenant: str, conversation: str, items: list[Item]) -> None:
        """Add items to the end of a tenant's conversation."""
        await self._run("add_items", conversation, tenant, [item["id"] for item in items], items)

    async def item(self, tenant: str, conversation: str, item: str) -> Item | None:
        """Return an item of a tenant's conversation."""
        rows = await self._run("item", conversation, tenant, item)
        return rows[0]["data"] if rows else None

    async def delete_item(self, tenant: str, conversation: str, item: str) -> bool:
        """Delete an item of a tenant's conversation; tell whether there was one."""
        return bool(await self._run("delete_item", conversation, tenant, item))

    async def _run(self, name: str, *values: object, patience: float | None = None) -> Sequence[Row]:
        return await self._database.run(_SQL[name], *values, patience=patience)


def _columns(step: Step) -> list[object]:
    """Return a step's columns, in order."""
    columns: dict[str, object] = {field.name: getattr(step, field.name) for field in fields(Step)}
    if step.items is not None:
        # In an array of JSON a list would be taken for another dimension of it.
        columns["items"] = orjson.Fragment(orjson.dumps(step.items))
    return list(columns.values())


def _turn(rows: Sequence[Row]) -> Turn | None:
    return _as_turn(rows[0]) if rows else None


def _as_turn(row: Row) -> Turn:
    turn = Turn(*(row[column] for column in _TURN_COLUMNS))
    # That a turn has begun stands in its open row alone.
    return replace(turn, status="running") if turn.status == "queued" and turn.attempt else turn


def _conversation(rows: Sequence[Row]) -> list[Conversation]:
    return [Conversation(row["id"], row["tenant"], row["metadata"], row["created_at"]) for row in rows]
