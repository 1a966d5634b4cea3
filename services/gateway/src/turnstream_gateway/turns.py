"""Accept turns and cancel them."""

import asyncio
from dataclasses import dataclass
from typing import Any

from turnstream import subjects
from turnstream.bus import Bus
from turnstream.errors import (
    BusUnavailableError,
    BusyError,
    ConflictError,
    EventsExpiredError,
    KeyTakenError,
    NotFoundError,
    QueueFullError,
    RateLimitError,
    StoreUnavailableError,
    UnavailableError,
)
from turnstream.ids import first_id, is_well_formed, new_id
from turnstream.logs import log
from turnstream.store import LINE_LIMIT, Store
from turnstream.turns import Accepted, Turn, response_resource
from turnstream_gateway.limits import check_limits
from turnstream_gateway.models import Models
from turnstream_gateway.pages import Page, ResponsesPage, behind, list_object
from turnstream_gateway.questions import Asked, Questions
from turnstream_gateway.relay import Relay
from turnstream_gateway.requests import CreateResponse
from turnstream_gateway.settings import GatewaySettings


@dataclass(frozen=True, slots=True)
class Sent:
    """How a request came: what tells it from another, and from itself sent again."""

    fingerprint: bytes  # of the body
    key: str | None  # the client's Idempotency-Key
    again: bool  # whether the client's library says that it tries again
    provider_data: dict[str, Any] | None  # what came along for providers and tools alone


@dataclass(frozen=True, slots=True)
class Turns:
    """A tenant's turns, as the gateway handles them."""

    bus: Bus
    store: Store
    models: Models
    questions: Questions
    settings: GatewaySettings

    async def accept(self, tenant: str, body: CreateResponse, sent: Sent) -> tuple[Relay, bool]:
        """Accept a new turn; return the relay of its events, entered, to be left by the caller, and True.

        For a request that was sent before, the relay is of the turn that it began then, and the second value False.
        The subscription comes first, so that no event can be missed; then the row, which is what makes it accepted;
        then the queue. A turn that cannot be queued is taken back, and was never accepted.
        """
        check_limits(body, self.settings)
        await self.models.check(body.model)
        if begun := await self._begun(tenant, sent):
            return await self._join(tenant, begun, body), False
        turn = new_id("resp_")
        asked = await self.questions.read(tenant, turn, body, sent.provider_data)
        relay = await self.relay(tenant, turn).__aenter__()
        try:
            accepted = await self._store(tenant, turn, body, asked, sent)
            if accepted.turn == turn:
                if accepted.ahead:
                    await self._end_line(tenant, accepted, body)
                else:
                    await self.enqueue(tenant, turn)
                return relay, True
        except BaseException:
            await relay.__aexit__(None, None, None)
            raise
        await relay.__aexit__(None, None, None)
        return await self._join(tenant, accepted, body), False

    async def enqueue(self, tenant: str, turn: str) -> None:
        """Queue a turn that was just stored, or take it back.

        Raises RateLimitError if the queue is full and UnavailableError if it does not answer, unless a worker has the
        turn all the same: then it is accepted.
        """
        try:
            await self.bus.enqueue(tenant, turn, turn, patience=self.settings.accept_patience)
        except BusUnavailableError as error:
            if not await self._take_back(tenant, turn):
                return
            log.warning("turn.refused", turn=turn, error=str(error))
            if isinstance(error, QueueFullError):
                message = "Too many turns are queued or running, and this one was not accepted. Try again later."
                raise RateLimitError(message, code="queue_full") from error
            raise UnavailableError("The queue is not available, and the turn was not accepted. Try again.") from error

    async def enqueue_again(self, turn: Turn) -> None:
        """Queue a turn that was accepted before, whose gateway may have died before it was queued.

        If it was, the same message id queues it once. Raises UnavailableError if the queue does not answer.
        """
        if turn.attempt or turn.ended:
            return
        try:
            await self.bus.enqueue(turn.tenant, turn.id, turn.id, patience=self.settings.accept_patience)
        except QueueFullError as error:
            log.warning("turn.not_queued", turn=turn.id, error=str(error))  # a worker finds it and queues it
        except BusUnavailableError as error:
            raise UnavailableError("The queue is not available. Try again.") from error

    async def get(self, tenant: str, turn: str) -> Turn:
        """Return a turn; raise NotFoundError if it is not this tenant's, or was not to be stored."""
        found = await self.store.turn(tenant, turn) if is_well_formed(turn) else None
        if found is None or not found.stored:
            raise NotFoundError(f"Response '{turn}' was not found.", code="response_not_found")
        return found

    async def accepted(self, tenant: str, turn: str) -> Turn:
        """Return a turn that its client has just been given, also one that is not to be stored."""
        found = await self.store.turn(tenant, turn)
        if found is None:
            raise UnavailableError("The turn was taken back. Try again.")
        return found

    async def cancel(self, tenant: str, turn: str) -> Turn:
        """End a turn as cancelled and tell its worker; return it. Doing so again changes nothing.

        Raises ConflictError if it has ended in another way.
        """
        cancelled = await self.store.cancel(tenant, turn) if is_well_formed(turn) else None
        if cancelled is None:
            found = await self.get(tenant, turn)
            if found.status != "cancelled":
                raise ConflictError(f"The response has ended as {found.status}.", code="response_already_ended")
            cancelled = found
        # The row decides. A worker that misses the signal finds out when it renews its lease, or wants to finish.
        if cancelled.attempt == 0 and cancelled.output is None:
            await self._end(tenant, turn)  # it may be on no queue
        else:
            await self.bus.signal(subjects.cancel(turn))
        return cancelled

    async def list(self, tenant: str, page: ResponsesPage) -> dict[str, Any]:
        """Return a page of a tenant's responses, as a list object."""
        found = await self.store.turns(
            tenant,
            after=page.after,
            before=page.before,
            model=page.model,
            limit=page.limit + 1,
            newest_first=page.newest_first,
        )
        return list_object([response_resource(turn) for turn in found], page.limit)

    async def input_items(self, tenant: str, turn: str, page: Page) -> dict[str, Any]:
        """Return a page of a turn's own input, as a list object."""
        items = (await self.get(tenant, turn)).input
        ordered = items[::-1] if page.newest_first else items
        return list_object(behind(ordered, page.after)[: page.limit + 1], page.limit)

    async def delete(self, tenant: str, turn: str) -> dict[str, Any]:
        """Delete a turn that has ended; raise ConflictError if it has not."""
        if not await self.store.delete_turn(tenant, (await self.get(tenant, turn)).id):
            raise ConflictError("The response has not ended. Cancel it first.", code="response_not_ended")
        return {"id": turn, "object": "response", "deleted": True}

    def relay(self, tenant: str, turn: str) -> Relay:
        """Return a relay of a turn's events."""

        async def closed() -> bool:
            try:
                return await self.store.closed(turn)
            except StoreUnavailableError:
                return False  # it is asked again

        return Relay(self.bus, tenant, turn, keepalive=self.settings.keepalive, closed=closed)

    async def has_events(self, turn: Turn, after: int) -> bool:
        """Tell whether an ended turn has events behind number `after`."""
        async with self.resume(turn) as relay:
            try:
                async for _ in relay.lines(after):
                    return True
            except EventsExpiredError:
                return True  # one that says so
        return False

    def resume(self, turn: Turn) -> Relay:
        """Return a relay of a stored turn's events."""
        return self.relay(turn.tenant, turn.id)

    async def _begun(self, tenant: str, sent: Sent) -> Accepted | None:
        """Return the turn that a client's retry without a key has begun already, if its first try came through."""
        if sent.key or not sent.again:
            return None
        since = first_id("resp_", seconds_ago=self.settings.retry_window)
        return await self.store.retried(tenant, sent.fingerprint, since)

    async def _join(self, tenant: str, begun: Accepted, body: CreateResponse) -> Relay:
        """Return the relay of a turn that the same request began before, entered; do what its gateway may not have."""
        await self._end_line(tenant, begun, body)
        turn = await self.accepted(tenant, begun.turn)
        await self.enqueue_again(turn)
        return await self.resume(turn).__aenter__()

    async def _store(self, tenant: str, turn: str, body: CreateResponse, asked: Asked, sent: Sent) -> Accepted:
        conversation, previous = body.conversation, body.previous_response_id
        try:
            stored = await self.store.accept(
                turn,
                tenant,
                asked.parameters,
                asked.items,
                stored=body.store is not False,
                conversation=conversation,
                previous=previous,
                key=sent.key,
                fingerprint=sent.fingerprint,
                secrets=asked.secrets,
                line_limit=0 if body.on_busy == "reject" else LINE_LIMIT,
            )
        except KeyTakenError as error:
            message = "This Idempotency-Key was used with another body. Use a new key for a new request."
            raise ConflictError(message, code="idempotency_key_reused") from error
        except BusyError as error:
            if body.on_busy == "reject":
                message = f"A turn of conversation '{conversation}' has not ended."
                raise ConflictError(message, code="conversation_busy", param="conversation") from error
            message = f"More than {LINE_LIMIT} turns of conversation '{conversation}' have not ended. Try again later."
            raise RateLimitError(message, code="conversation_busy", param="conversation") from error
        if stored:
            return stored
        if conversation:
            message = f"Conversation '{conversation}' was not found."
            raise NotFoundError(message, code="conversation_not_found", param="conversation")
        found = await self.store.turn(tenant, previous) if previous else None
        if found and found.stored:
            message = f"Previous response '{previous}' has not ended."
            raise ConflictError(message, code="response_not_ended", param="previous_response_id")
        message = f"Previous response '{previous}' was not found."
        raise NotFoundError(message, code="previous_response_not_found", param="previous_response_id")

    async def _end_line(self, tenant: str, accepted: Accepted, body: CreateResponse) -> None:
        """End the turns that stand before one in its conversation, if it was sent to do so."""
        if body.on_busy not in {"interrupt", "rollback"} or not accepted.ahead:
            return
        try:
            ended = await self.store.cancel_line(tenant, accepted.ahead, keep=body.on_busy == "interrupt")
        except StoreUnavailableError as error:
            raise self._uncertain(accepted.turn, error) from error
        await asyncio.gather(*(self._end(tenant, turn) for turn in ended))

    async def _end(self, tenant: str, turn: str) -> None:
        """Have a worker end the log of a turn that is cancelled in the store, and its run if it runs."""
        await self._try_to_queue(tenant, turn, f"{turn}:cancelled")
        await self.bus.signal(subjects.cancel(turn))

    async def _take_back(self, tenant: str, turn: str) -> bool:
        """Undo that a turn was stored; return False if a worker has it already.

        Raises UnavailableError, with a code of its own, if neither can be told.
        """
        try:
            # The message may have been stored all the same: then it finds no turn.
            withdrawn, following = await self.store.withdraw(turn)
            if not withdrawn and await self.store.turn(tenant, turn):
                return False
        except StoreUnavailableError as error:
            raise self._uncertain(turn, error) from error
        if following:
            await self._try_to_queue(tenant, following, f"{following}:released")
        return True

    def _uncertain(self, turn: str, error: StoreUnavailableError) -> UnavailableError:
        """Return the error that tells that a turn may run once the store is back: refused, it would be sent twice."""
        log.error("turn.uncertain", turn=turn, error=str(error))
        message = (
            f"Whether response '{turn}' was accepted is not known, so it may run later. Look for it, or send the same "
            "request as a retry, which joins it."
        )
        return UnavailableError(message, code="acceptance_unknown")

    async def _try_to_queue(self, tenant: str, turn: str, message_id: str) -> None:
        """Queue a turn that may be on no queue, since it waited for others: it may run now, or is to end."""
        try:
            await self.bus.enqueue(tenant, turn, message_id, patience=self.settings.accept_patience)
        except BusUnavailableError as error:
            log.warning("turn.not_queued", turn=turn, error=str(error))  # a worker finds it and queues it
