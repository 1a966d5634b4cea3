"""Postgres: a pool of connections, and statements that are tried until it answers. The one file to import asyncpg."""

import asyncio
import re
from collections.abc import Sequence
from importlib.resources import files
from typing import Self

import asyncpg
import orjson

from turnstream.errors import SchemaError, StoreUnavailableError
from turnstream.logs import log
from turnstream.settings import PostgresSettings

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0  # seconds between two tries

# What passes when Postgres is back, or when the address leads to its new leader.
AWAY = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.OperatorInterventionError,  # shutdown, crash recovery
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.ProtocolError,  # the connection is not to be trusted, the next one is
    asyncpg.OutdatedSchemaCacheError,
)
# asyncpg says these of a connection that closed under a statement; their other subclasses are about what was asked.
AWAY_THEMSELVES = (asyncpg.InterfaceError, asyncpg.InternalClientError)


def is_away(kind: type[BaseException]) -> bool:
    """Tell whether an error of this class passes when Postgres is back."""
    return issubclass(kind, AWAY) or kind in AWAY_THEMSELVES


type Row = asyncpg.Record


def named_queries(package: str, file: str = "queries.sql") -> dict[str, str]:
    """Return the statements of a package's file by the names in their comments, `-- name: purpose`."""
    parts = re.split(r"^-- (\w+): .*\n", (files(package) / file).read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


class Database:
    """A pool of connections. Every statement is tried until Postgres answers, for at most `store_patience` seconds.

    A statement may so be sent twice, since an answer can be lost on the way: it must do its work once all the same.
    """

    def __init__(self, pool: asyncpg.Pool, settings: PostgresSettings) -> None:
        self._pool = pool
        self._settings = settings

    @classmethod
    async def connect(cls, settings: PostgresSettings) -> Self:
        """Return a database once Postgres answers; raise StoreUnavailableError after `startup_timeout` seconds."""
        pool = asyncpg.create_pool(
            settings.postgres_dsn.get_secret_value(),
            min_size=0,
            max_size=settings.store_connections,
            init=_use_json,
            reset=_keep,
        )
        database = cls(await pool, settings)
        await database.run("SELECT 1", patience=settings.startup_timeout)
        return database

    async def close(self) -> None:
        """Close the connections that are idle, and those in use within five seconds."""
        try:
            async with asyncio.timeout(5):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    async def healthy(self) -> bool:
        """Tell whether Postgres answers within two seconds."""
        try:
            await self.run("SELECT 1", patience=2)
        except StoreUnavailableError:
            return False
        return True

    async def run(self, statement: str, *values: object, patience: float | None = None) -> Sequence[Row]:
        """Run a statement until it is answered; raise StoreUnavailableError after `patience` seconds.

        Raises SchemaError if the database lacks what the statement is about.
        """
        loop = asyncio.get_running_loop()
        patience = self._settings.store_patience if patience is None else patience
        deadline = loop.time() + patience
        pause = FIRST_PAUSE
        # Given to acquire too: it bounds the release of a cancelled statement.
        within = min(self._settings.store_timeout, patience)
        while True:
            try:
                async with asyncio.timeout(within), self._pool.acquire(timeout=within) as connection:
                    return await connection.fetch(statement, *values)
            except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError) as error:
                raise SchemaError(f"{error}: run the provisioning step of this version") from error
            except (*AWAY, *AWAY_THEMSELVES) as error:
                if not is_away(type(error)):
                    raise
                if loop.time() + pause > deadline:
                    raise StoreUnavailableError(f"Postgres does not answer: {type(error).__name__}") from error
                log.warning("database.retry", statement=statement.split(maxsplit=1)[0], error=type(error).__name__)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)


async def _use_json(connection: asyncpg.Connection) -> None:
    await connection.set_type_codec(
        "json", encoder=lambda value: orjson.dumps(value).decode(), decoder=orjson.loads, schema="pg_catalog"
    )


async def _keep(connection: asyncpg.Connection) -> None:
    """Skip asyncpg's reset between two uses, a round trip each: no statement here leaves a state behind."""
