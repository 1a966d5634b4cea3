"""The database over the life of a deployment: it is migrated, it goes away, it comes back."""

import asyncio
from typing import cast

import asyncpg
import psutil
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from support.infrastructure import Infrastructure

from turnstream import migrations
from turnstream.database import Database
from turnstream.errors import StoreUnavailableError
from turnstream.ids import new_id
from turnstream.provision import migrate, newest_version, schema_version
from turnstream.settings import Settings
from turnstream.store import Store
from turnstream.turns import Outcome
from turnstream_local.postgres import Postgres

SCHEMA = """
SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns
WHERE table_schema = 'public' ORDER BY 1, 2
"""


async def schema(dsn: str) -> list[asyncpg.Record]:
    """Return the columns of all tables."""
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetch(SCHEMA)
    finally:
        await connection.close()


def impatient(infrastructure: Infrastructure) -> Settings:
    """Return settings that give up at once."""
    return Settings(
        nats_url="nats://unused",
        postgres_dsn=infrastructure.dsn,
        startup_timeout=0.1,
        store_timeout=0.5,
        store_patience=0.1,
    )


async def test_migrating_twice(infrastructure: Infrastructure) -> None:
    """Migrating again changes nothing, neither by the provisioning step nor by Alembic itself."""
    before = await schema(infrastructure.dsn)
    await migrate(infrastructure.dsn, 5)
    await migrations.upgrade(infrastructure.dsn)
    assert await schema(infrastructure.dsn) == before
    assert await schema_version(infrastructure.dsn, 5) == newest_version()


def test_newest_version_is_the_head() -> None:
    """The version that the files' names say is the one that Alembic would migrate to."""
    [folder] = migrations.__path__
    config = Config()
    config.set_main_option("script_location", folder)
    assert ScriptDirectory.from_config(config).get_current_head() == newest_version()


async def test_postgres_goes_and_comes_back(infrastructure: Infrastructure) -> None:
    """Every call says that the store is away while it is, and the same store works again when it is back."""
    database = await Database.connect(impatient(infrastructure))
    store = Store(database)
    turn_id = new_id("resp_")
    await store.accept(turn_id, "default", {}, [], conversation=None, previous=None)
    turn = await store.turn("default", turn_id)
    assert turn is not None
    await infrastructure.postgres.kill()
    try:
        for call in (
            store.claim(turn.id, "a", 60),
            store.finish(turn, Outcome("completed", [])),
            store.turn("default", turn.id),
            store.renew({turn.id: "a"}, 60, patience=0.1),
        ):
            with pytest.raises(StoreUnavailableError):
                await call
        with pytest.raises(StoreUnavailableError):
            await Database.connect(impatient(infrastructure))
        with pytest.raises(StoreUnavailableError):
            await schema_version(infrastructure.dsn, 0.1)
    finally:
        await infrastructure.postgres.start()
    assert await store.turn("default", turn.id) == turn
    assert await database.healthy()
    await database.close()


async def test_healthy_tells_that_postgres_is_away(infrastructure: Infrastructure) -> None:
    """A store whose Postgres is away is not healthy, and can still be closed."""
    database = await Database.connect(impatient(infrastructure))
    await infrastructure.postgres.stop()
    try:
        assert not await database.healthy()
    finally:
        await infrastructure.postgres.start()
    await database.close()


async def test_postgres_that_does_not_answer(infrastructure: Infrastructure) -> None:
    """A Postgres that is there and does not answer is away as well, in the time that it was given."""
    database = await Database.connect(impatient(infrastructure))
    assert await database.healthy()
    postmaster = psutil.Process(cast("Postgres", infrastructure.postgres).pid)
    frozen = [postmaster, *postmaster.children(recursive=True)]
    for process in frozen:
        process.suspend()
    try:
        async with asyncio.timeout(5):
            with pytest.raises(StoreUnavailableError):
                await database.run("SELECT 1")
    finally:
        for process in frozen:
            process.resume()
    assert await database.healthy()
    await database.close()
