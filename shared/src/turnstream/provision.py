"""The provisioning step: the bus's streams and consumers, and the database's schema.

Runs before a deploy, as `python -m turnstream.provision`; running it again changes nothing. Services bind to what
stands here and create nothing, so they need no right to.
"""

import asyncio
from importlib.resources import as_file, files

from alembic import command
from alembic.config import Config
from pydantic import Field, PositiveFloat, PositiveInt
from sqlalchemy import Connection, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from turnstream import process
from turnstream.bus.provision import provision as provision_bus
from turnstream.errors import StoreUnavailableError
from turnstream.settings import Settings

# Two deploys at once take turns by this advisory lock; the number means nothing but must not change.
MIGRATION_LOCK = 7_011_835_001


class ProvisionSettings(Settings):
    """What the provisioning step decides for all."""

    replicas: PositiveInt = Field(1, description="servers that keep each message of a stream")
    ack_wait: PositiveFloat = Field(15, description="seconds until the work of a silent worker is given to another")


async def provision(settings: ProvisionSettings, _stop: asyncio.Event) -> None:
    """Bring the bus and the database to what this version needs; raise if either cannot be reached in time."""
    async with asyncio.TaskGroup() as both:
        both.create_task(provision_bus(settings, replicas=settings.replicas, ack_wait=settings.ack_wait))
        both.create_task(migrate(settings.postgres_dsn.get_secret_value(), settings.startup_timeout))


async def migrate(dsn: str, within: float) -> None:
    """Run the migrations that the database lacks, oldest first, each in a transaction.

    Waits `within` seconds for the database; raises StoreUnavailableError after that.
    """
    engine = create_async_engine(make_url(dsn).set(drivername="postgresql+asyncpg"))
    try:
        connection = await _connect(engine, within)
        try:
            await connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": MIGRATION_LOCK})
            await connection.run_sync(_upgrade)
            await connection.commit()
        finally:
            await connection.close()
    finally:
        await engine.dispose()


async def _connect(engine: AsyncEngine, within: float) -> AsyncConnection:
    deadline = asyncio.get_running_loop().time() + within
    while True:
        try:
            return await engine.connect()
        except (OSError, DBAPIError) as error:  # not there yet, or still starting
            if asyncio.get_running_loop().time() > deadline:
                raise StoreUnavailableError(f"Postgres cannot be reached: {type(error).__name__}") from error
        await asyncio.sleep(0.1)


def _upgrade(connection: Connection) -> None:
    with as_file(files("turnstream") / "migrations") as folder:
        config = Config()
        config.set_main_option("script_location", str(folder))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


if __name__ == "__main__":
    process.run("provision", ProvisionSettings(), provision)
