"""The provisioning step: the bus's streams and consumers, and the database's schema.

Runs before a deploy, as `python -m turnstream.provision`; running it again changes nothing. Services bind to what
stands here and create nothing, so they need no right to.
"""

import asyncio
from importlib.resources import files

import asyncpg
from pydantic import Field, PositiveFloat, PositiveInt

from turnstream import process
from turnstream.bus.provision import Depth
from turnstream.bus.provision import provision as provision_bus
from turnstream.errors import StoreUnavailableError
from turnstream.logs import log
from turnstream.settings import Settings


class ProvisionSettings(Settings):
    """What the provisioning step decides for all."""

    replicas: PositiveInt = Field(1, description="servers that keep each message of a stream")
    ack_wait: PositiveFloat = Field(15, description="seconds until the work of a silent worker is given to another")
    queue_depth_per_tenant: PositiveInt = Field(1000, description="turns of one tenant that may be queued or running")
    queue_depth: PositiveInt = Field(20_000, description="turns of all tenants that may be queued or running")


async def provision(settings: ProvisionSettings, _stop: asyncio.Event) -> None:
    """Bring the bus and the database to what this version needs; raise if either cannot be reached in time."""
    async with asyncio.TaskGroup() as both:
        both.create_task(
            provision_bus(
                settings,
                replicas=settings.replicas,
                ack_wait=settings.ack_wait,
                depth=Depth(settings.queue_depth_per_tenant, settings.queue_depth),
            )
        )
        both.create_task(migrate(settings.postgres_dsn.get_secret_value(), settings.startup_timeout))


async def migrate(dsn: str, within: float) -> None:
    """Bring the database's schema to this version's.

    Waits `within` seconds for the database; raises StoreUnavailableError after that.
    """
    if await schema_version(dsn, within) == newest_version():
        return
    # A second of imports, which a start with nothing to migrate is spared.
    from turnstream.migrations import upgrade  # noqa: PLC0415

    await upgrade(dsn)
    log.info("provision.migrated", to=newest_version())


def newest_version() -> str:
    """Return the version of the last migration: their files are named by it."""
    versions = (files("turnstream") / "migrations" / "versions").iterdir()
    return max(file.name.partition("_")[0] for file in versions if file.name.endswith(".py"))


async def schema_version(dsn: str, within: float) -> str | None:
    """Return the version of the database's schema, or None if it has none yet."""
    deadline = asyncio.get_running_loop().time() + within
    while True:
        try:
            connection = await asyncpg.connect(dsn)
            break
        except (OSError, asyncpg.CannotConnectNowError) as error:  # not there yet, or still starting
            if asyncio.get_running_loop().time() > deadline:
                raise StoreUnavailableError(f"Postgres cannot be reached: {type(error).__name__}") from error
        await asyncio.sleep(0.1)
    try:
        version: str | None = await connection.fetchval("SELECT version_num FROM alembic_version")
    except asyncpg.UndefinedTableError:
        version = None
    finally:
        await connection.close()
    return version


if __name__ == "__main__":
    process.run("provision", ProvisionSettings(), provision)
