"""Settings that every process shares; each service adds its own. The environment sets them, as TURNSTREAM_<NAME>."""

from pydantic import Field, PositiveFloat, PositiveInt, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class PostgresSettings(BaseSettings):
    """Where the database is, and how long to wait for it."""

    model_config = SettingsConfigDict(env_prefix="TURNSTREAM_", frozen=True)

    postgres_dsn: SecretStr = Field(description="PostgreSQL: postgresql://user:password@host:port/database")
    startup_timeout: PositiveFloat = Field(30, description="seconds to wait for NATS and Postgres at start")
    store_timeout: PositiveFloat = Field(10, description="seconds one SQL statement may take")
    store_patience: PositiveFloat = Field(60, description="seconds to go on trying while Postgres is away")
    store_connections: PositiveInt = Field(16, description="Postgres connections a process may hold")


class Settings(PostgresSettings):
    """Where the bus is too, and what a process that serves has in common with the others."""

    nats_url: SecretStr = Field(description="NATS, with the service's user: nats://user:password@host:port")
    log_level: str = Field("INFO", description="least severe level that is logged")
    grace: PositiveFloat = Field(30, description="seconds that turns and streams may go on for after SIGTERM")
    bus_timeout: PositiveFloat = Field(2, description="seconds one try of a NATS request may take")
    bus_patience: PositiveFloat = Field(60, description="seconds to go on trying while NATS is away")
    appends: PositiveInt = Field(32, description="batches of events a process has on their way to NATS at a time")
    watchdog_interval: PositiveFloat = Field(5, description="seconds between checks that the bus still answers")
