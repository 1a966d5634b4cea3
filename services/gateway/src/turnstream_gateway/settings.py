"""The gateway's settings."""

from ipaddress import IPv4Address, IPv6Address

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from turnstream.settings import Settings


class GatewaySettings(Settings):
    """How the gateway listens, accepts and relays."""

    http_host: IPv4Address | IPv6Address = Field(
        IPv4Address("127.0.0.1"), description="address to listen on; any but a loopback address needs an API key"
    )
    http_port: int = Field(8321, ge=0, le=65535, description="port to listen on")
    keys_ttl: PositiveFloat = Field(5, description="seconds an API key goes on to be valid once it is revoked")
    request_timeout: PositiveFloat = Field(30, description="seconds a client may take to send a request")
    body_limit: PositiveInt = Field(16 << 20, description="bytes a request's body may have")
    cors_origins: list[str] = Field([], description='web pages that may call the API, as JSON: ["https://..."]')
    retry_window: PositiveFloat = Field(600, description="seconds in which a client's own retry joins what it began")
    accept_patience: PositiveFloat = Field(5, description="seconds to go on queueing a turn before it is refused")
    keepalive: PositiveFloat = Field(15, description="seconds between two signs of life on a silent stream")
    models_ttl: PositiveFloat = Field(5, description="seconds a list of models or providers is good for")
    max_attempts_limit: PositiveInt = Field(10, description="times a request may ask to be begun before it fails")
    deadline_limit: PositiveFloat = Field(86_400, description="seconds a request may ask to have from its acceptance")
    grace_limit: NonNegativeFloat = Field(
        30, description="seconds a request may ask to go on for once its worker stops"
    )
    disconnect_grace: NonNegativeFloat = Field(
        5, description="seconds a turn that ends with its readers waits for one to come back"
    )
    disconnect_grace_limit: NonNegativeFloat = Field(300, description="seconds a request may ask to wait for that")
    bus_patience: PositiveFloat = Field(10, description="seconds to go on trying while NATS is away")
    store_patience: PositiveFloat = Field(10, description="seconds to go on trying while Postgres is away")
