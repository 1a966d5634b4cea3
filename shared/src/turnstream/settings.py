"""Settings that every process shares; each service adds its own. The environment sets them, as TURNSTREAM_<NAME>."""

from typing import Annotated

from pydantic import Field, IPvAnyNetwork, PositiveFloat, PositiveInt, SecretStr, StringConstraints
from pydantic_settings import BaseSettings, SettingsConfigDict

type HostName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]+$", to_lower=True)]


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
    secrets_key: SecretStr | None = Field(
        None,
        description="key that seals turns' secrets: 32 bytes in base64; more of them, by commas, for what older ones "
        "have sealed",
    )


class FetchSettings(BaseSettings):
    """What a process may fetch for a client. For those that do; they add it to their own."""

    model_config = SettingsConfigDict(env_prefix="TURNSTREAM_", frozen=True)

    # Left to right: a network is text as well, and must not pass for a host's name.
    fetch_allow: list[Annotated[IPvAnyNetwork | HostName, Field(union_mode="left_to_right")]] = Field(
        [],
        description='hosts and networks that may be fetched although private, as JSON: ["files.corp", "10.1.0.0/16"]',
    )
    fetch_timeout: PositiveFloat = Field(30, description="seconds that what is at a URL may take to arrive")
