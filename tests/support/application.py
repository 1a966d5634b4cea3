"""The gateway's application as a thing to look at."""

from typing import Any, cast

from turnstream.database import Database
from turnstream.memory import MemoryBus
from turnstream_gateway.app import build_app
from turnstream_gateway.settings import GatewaySettings


def description() -> dict[str, Any]:
    """Return what the application says of itself at /openapi.json. It has no database: it is not called."""
    settings = GatewaySettings(nats_url="nats://nobody", postgres_dsn="postgresql://nobody")
    return build_app(settings, MemoryBus(), cast("Database", None)).openapi()


def operations(described: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the operations of a description by method and path."""
    return {
        (method.upper(), path): operation
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    }
