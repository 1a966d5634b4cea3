"""The stream of dead letters: one for each turn that was given up, until it is discarded or too old."""

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from turnstream import subjects
from turnstream.bus.connection import AWAY, END_OF_BATCH, Connection
from turnstream.dead_letter import DeadLetter
from turnstream.errors import BusUnavailableError

GONE = 10043  # err_code of a deletion that found no message


@dataclass(frozen=True, slots=True)
class Filed:
    """A dead letter as the stream holds it."""

    sequence: int
    letter: DeadLetter


class DeadLetters:
    """Dead letters. Every call raises BusUnavailableError where NATS does not answer."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def file(self, letter: DeadLetter) -> None:
        """File a letter, in place of an earlier one about the same turn."""
        subject = subjects.dead(letter.tenant, letter.turn)
        answer = orjson.loads((await self._connection.request(subject, letter.encode())).data)
        if "error" in answer:
            raise BusUnavailableError(f"a dead letter was refused: {answer['error'].get('description')}")

    async def list(self, tenant: str | None, *, after: int, limit: int) -> Sequence[Filed]:
        """Return up to `limit` letters of a tenant, or of all, behind stream sequence `after`, in order of filing."""
        return await self._read(subjects.dead(tenant or "*", "*"), after, limit)

    async def get(self, turn: str) -> Filed | None:
        """Return the letter about a turn."""
        found = await self._read(subjects.dead("*", turn), 0, 1)
        return found[0] if found else None

    async def discard(self, filed: Filed) -> None:
        """Delete a letter, unless it is gone already or a newer one has taken its place."""
        body = orjson.dumps({"seq": filed.sequence, "no_erase": True})
        subject = f"$JS.API.STREAM.MSG.DELETE.{subjects.DEAD.name}"
        answer = orjson.loads((await self._connection.request(subject, body)).data)
        if "error" in answer and answer["error"].get("err_code") != GONE:
            raise BusUnavailableError(f"a dead letter was not deleted: {answer['error'].get('description')}")

    async def _read(self, subject: str, after: int, limit: int) -> Sequence[Filed]:
        wanted = {"batch": limit, "seq": after + 1, "next_by_subj": subject}
        found: list[Filed] = []
        try:
            async for message in self._connection.direct_get(subjects.DEAD.name, wanted):
                headers = message.headers or {}
                if "Status" not in headers:
                    found.append(Filed(int(headers["Nats-Sequence"]), DeadLetter.decode(message.data)))
                elif headers["Status"] not in END_OF_BATCH:
                    raise BusUnavailableError(f"dead letters cannot be read: status {headers['Status']}")
        except AWAY as error:
            raise BusUnavailableError(f"dead letters cannot be read: {type(error).__name__}") from error
        return found
