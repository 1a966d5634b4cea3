"""What an operator does about turns that were given up: look at them, run them again, or let them be."""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from turnstream.bus import Bus, Filed
from turnstream.dead_letter import DeadLetter
from turnstream.errors import BusyError, ConflictError, NotFoundError, RateLimitError
from turnstream.ids import is_well_formed, new_id
from turnstream.keys import TENANT
from turnstream.logs import log
from turnstream.store import Store
from turnstream.turns import Turn, response_resource
from turnstream_gateway.pages import list_object, not_in_list
from turnstream_gateway.questions import copy_item
from turnstream_gateway.turns import Turns


class LettersPage(BaseModel):
    """What part of the dead letters is asked for; any other query parameter is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tenant: str | None = Field(None, pattern=f"^{TENANT.pattern}$")
    after: str | None = Field(None, max_length=64, pattern="^[A-Za-z0-9_-]*$")  # a turn's id; empty is none
    limit: int = Field(20, ge=1, le=100)


type LettersPageQuery = Annotated[LettersPage, Query()]


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """All tenants' dead letters. Every method that names one raises NotFoundError for what is not there."""

    bus: Bus
    store: Store
    turns: Turns

    async def list(self, page: LettersPage) -> dict[str, Any]:
        """Return a page of the letters, those that were filed first first, as a list object."""
        after = await self._find(page.after) if page.after else None
        if page.after and after is None:
            raise not_in_list(page.after)
        sequence = after.sequence if after else 0
        found = await self.bus.dead_letters.list(page.tenant, after=sequence, limit=page.limit + 1)
        return list_object([_resource(filed.letter) for filed in found], page.limit)

    async def get(self, turn: str) -> dict[str, Any]:
        """Return a letter, and what the turn is like that it is about."""
        letter = (await self._get(turn)).letter
        found = await self.store.turn(letter.tenant, letter.turn)
        shown = response_resource(found) if found else None
        about = {name: shown[name] for name in ("status", "model", "created_at")} if shown else None
        return {**_resource(letter), "response": about}

    async def replay(self, turn: str) -> dict[str, Any]:
        """Run a turn again as a new one, and discard its letter. As often as that is asked, there is one new turn.

        Raises ConflictError if it cannot be run again, and RateLimitError and UnavailableError as a new turn does.
        """
        filed = await self._get(turn)
        found = await self.store.turn(filed.letter.tenant, turn)
        response = await self._run_again(_replayable(turn, found))
        await self.bus.dead_letters.discard(filed)
        log.info("dead_letter.replayed", turn=turn, response=response)
        return {"object": "dead_letter.replayed", "id": turn, "response_id": response}

    async def discard(self, turn: str) -> dict[str, Any]:
        """Delete a letter; the turn that it is about stays as it is."""
        await self.bus.dead_letters.discard(await self._get(turn))
        log.info("dead_letter.discarded", turn=turn)
        return {"object": "dead_letter.deleted", "id": turn, "deleted": True}

    async def _run_again(self, dead: Turn) -> str:
        """Accept a new turn that asks what a dead one asked; return its id, or that of the one that was accepted so."""
        turn = new_id("resp_")
        key = f"replay\t{dead.id}"  # a client's own key holds no tab
        try:
            accepted = await self.store.accept(
                turn,
                dead.tenant,
                dead.request,
                [copy_item(item, turn) for item in dead.input],
                conversation=dead.conversation,
                previous=dead.previous,
                key=key,
                fingerprint=blake2b(key.encode(), digest_size=16).digest(),
            )
        except BusyError as error:
            message = f"Too many turns of conversation '{dead.conversation}' have not ended. Try again later."
            raise RateLimitError(message, code="conversation_busy") from error
        if accepted is None:
            message = f"What response '{dead.id}' went on from was deleted, so it cannot be run again."
            raise ConflictError(message, code="dead_letter_not_replayable")
        if accepted.turn != turn:
            await self.turns.enqueue_again(await self.turns.accepted(dead.tenant, accepted.turn))
        elif not accepted.ahead:
            await self.turns.enqueue(dead.tenant, turn)
        return accepted.turn

    async def _get(self, turn: str) -> Filed:
        filed = await self._find(turn)
        if filed is None:
            raise NotFoundError(f"There is no dead letter about response '{turn}'.", code="dead_letter_not_found")
        return filed

    async def _find(self, turn: str) -> Filed | None:
        return await self.bus.dead_letters.get(turn) if is_well_formed(turn) else None


def _replayable(turn: str, dead: Turn | None) -> Turn:
    """Return a dead turn, if what it asked is still there; raise ConflictError otherwise."""
    why = None
    if dead is None:
        why = "it was deleted"
    elif not dead.stored:
        why = "it was not to be stored, and its content was erased"
    elif dead.secrets is not None:
        why = "it came with secrets for tools or providers, which were erased when it ended"
    if dead is None or why:
        message = f"Response '{turn}' cannot be run again: {why}."
        raise ConflictError(message, code="dead_letter_not_replayable")
    if not dead.ended:
        raise ConflictError(f"Response '{turn}' has not ended.", code="response_not_ended")
    return dead


def _resource(letter: DeadLetter) -> dict[str, Any]:
    """Return a letter as the API shows it."""
    return {
        "id": letter.turn,
        "object": "dead_letter",
        "tenant": letter.tenant,
        "reason": {"code": letter.code, "message": letter.message},
        "attempts": letter.attempts,
        "filed_at": int(letter.filed_at.timestamp()),
        "steps": [
            {
                "number": step.number,
                "kind": step.kind,
                "name": step.name,
                "attempt": step.attempt,
                "state": step.state,
                "started_at": step.started_at.timestamp(),
                "finished_at": step.finished_at.timestamp() if step.finished_at else None,
            }
            for step in letter.steps
        ],
    }
