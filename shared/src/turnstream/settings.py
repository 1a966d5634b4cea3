"""Settings that every process shares; each service adds its own. The environment sets them, as TURNSTREAM_<NAME>."""

from pydantic import Field, PositiveFloat, PositiveInt, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Where the bus and the store are, and how long to wait for them."""

    model_config = SettingsConfigDict(env_prefix="TURNSTREAM_", frozen=True)

    nats_url: SecretStr = Field(description="NATS, with the service's user: nats://user:password@host:port")
    postgres_dsn: SecretStr = Field(description="PostgreSQL: postgresql://user:password@host:port/database")
    log_level: str = Field("INFO", description="least severe level that is logged")
    startup_timeout: PositiveFloat = Field(30, description="seconds to wait for NATS and Postgres at start")
    grace: PositiveFloat = Field(30, description="seconds that turns and streams may go on for after SIGTERM")
    bus_timeout: PositiveFloat = Field(2, description="seconds one try of a NATS request may take")
    bus_patience: PositiveFloat = Field(60, description="seconds to go on trying while NATS is away")
    appends: PositiveInt = Field(32, description="batches of events a process has on their way to NATS at a time")
    store_timeout: PositiveFloat = Field(10, description="seconds one SQL statement may take")
    store_patience: PositiveFloat = Field(60, description="seconds to go on trying while Postgres is away")
    store_connections: PositiveInt = Field(16, description="Postgres connections a process may hold")
    watchdog_interval: PositiveFloat = Field(5, description="seconds between checks that the bus still answers")
