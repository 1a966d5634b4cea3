"""The table of API keys: each names the tenant whose requests it lets in, and whether they may be an operator's."""

import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import NamedTuple

from turnstream.database import Database, Row, named_queries
from turnstream.errors import TerminalError
from turnstream.ids import new_id

PREFIX = "ts_"
RANDOM_BYTES = 32
WELL_FORMED = re.compile(rb"ts_[A-Za-z0-9_-]{43}")  # RANDOM_BYTES in base64, for URLs
HINT_LENGTH = len(PREFIX) + 6
TENANT = re.compile("[a-z0-9_-]{1,64}")  # it stands in subjects of the bus, where dots, stars and spaces have a meaning
LIMIT = 10_000  # valid keys; every gateway holds all of them

_SQL = named_queries("turnstream.keys")


@dataclass(frozen=True, slots=True)
class Key:
    """A key's row, but for its hash."""

    id: str
    tenant: str
    name: str  # what an operator calls it
    hint: str  # the key's first characters
    created_at: datetime
    revoked_at: datetime | None
    admin: bool  # whether it is good for the admin API too


class Caller(NamedTuple):
    """Who a request comes from."""

    tenant: str
    admin: bool


_COLUMNS = [field.name for field in fields(Key)]


class Keys:
    """API keys. Every call raises StoreUnavailableError where the database does."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, tenant: str, name: str = "", *, admin: bool = False) -> tuple[Key, str]:
        """Make a key for a tenant; return its row and the key itself, which nobody can read again.

        Raises TerminalError if there are LIMIT valid ones already.
        """
        clear = PREFIX + secrets.token_urlsafe(RANDOM_BYTES)
        values = (new_id("key_"), tenant, name, digest(clear.encode()), clear[:HINT_LENGTH], LIMIT, admin)
        rows = await self._run("create", *values)
        if not rows:
            raise TerminalError(f"there are {LIMIT} keys already: revoke some first")
        return _as_key(rows[0]), clear

    async def all(self) -> list[Key]:
        """Return all keys, the revoked ones too, oldest first."""
        return [_as_key(row) for row in await self._run("all")]

    async def revoke(self, key: str) -> Key | None:
        """End a key for good; return it, or None if there is none of this id."""
        rows = await self._run("revoke", key)
        return _as_key(rows[0]) if rows else None

    async def callers(self) -> dict[bytes, Caller]:
        """Return who has each valid key, by the key's digest."""
        return {row["hash"]: Caller(row["tenant"], row["admin"]) for row in await self._run("callers")}

    async def any(self) -> bool:
        """Tell whether there has ever been a key, valid or not."""
        return bool(await self._run("any"))

    async def _run(self, name: str, *values: object) -> Sequence[Row]:
        return await self._database.run(_SQL[name], *values)


def digest(key: bytes) -> bytes:
    """Return what is stored of a key.

    A slow hash or a salt guards passwords, which can be guessed. A key is 256 random bits, which no list of guesses
    holds: one SHA-256 is as safe, costs a microsecond, and can be looked up.
    """
    return hashlib.sha256(key).digest()


def _as_key(row: Row) -> Key:
    return Key(*(row[column] for column in _COLUMNS))
