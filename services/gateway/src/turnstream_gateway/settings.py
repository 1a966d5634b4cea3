"""The gateway's settings."""

from ipaddress import ip_address

from pydantic import Field, PositiveFloat, PositiveInt, field_validator

from turnstream.settings import Settings


class GatewaySettings(Settings):
    """How the gateway listens, accepts and relays."""

    http_host: str = Field("127.0.0.1", description="address to listen on; loopback only, as nobody is asked for a key")
    http_port: int = Field(8321, ge=0, le=65535, description="port to listen on")
    body_limit: PositiveInt = Field(512 << 10, description="bytes a request's body may have")
    cors_origins: list[str] = Field([], description='web pages that may call the API, as JSON: ["https://..."]')
    retry_window: PositiveFloat = Field(600, description="seconds in which a client's own retry joins what it began")
    accept_patience: PositiveFloat = Field(5, description="seconds to go on queueing a turn before it is refused")
    keepalive: PositiveFloat = Field(15, description="seconds between two signs of life on a silent stream")
    models_ttl: PositiveFloat = Field(5, description="seconds a list of models or providers is good for")
    bus_patience: PositiveFloat = Field(10, description="seconds to go on trying while NATS is away")
    store_patience: PositiveFloat = Field(10, description="seconds to go on trying while Postgres is away")

    @field_validator("http_host")
    @classmethod
    def _loopback(cls, host: str) -> str:
        if not ip_address(host).is_loopback:
            raise ValueError("the gateway asks nobody for a key yet, so it listens on a loopback address only")
        return host
