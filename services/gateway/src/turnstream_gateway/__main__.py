"""`python -m turnstream_gateway`: run a gateway, set up by the environment."""

from turnstream import process
from turnstream_gateway.app import serve
from turnstream_gateway.settings import GatewaySettings

if __name__ == "__main__":
    process.run("gateway", GatewaySettings(), serve)
