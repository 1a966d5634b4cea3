"""How MCP servers are reached: by which addresses, by which name, and whether they are who they say."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.asgi import serve_app
from support.certificate import write_certificate
from support.scripted_mcp import ScriptedMcp
from yarl import URL

from turnstream_worker.settings import WorkerSettings
from turnstream_worker.tools.tool import ToolError
from turnstream_worker.tools.tools import Tools

HOST = "shop.test"
NOBODY = "127.0.0.9"  # where nothing listens
UNREACHABLE = "The MCP server could not be reached. Only servers on the public Internet can be."


class Names:
    """A name server."""

    def __init__(self) -> None:
        self.addresses = [NOBODY, "127.0.0.1"]
        self.asked: list[str] = []

    def look_up(self, host: str) -> list[str]:
        """Return a host's addresses, by which it is known from now on."""
        self.asked.append(host)
        return self.addresses


@pytest.fixture
def names() -> Names:
    """A name server that knows one address too many."""
    return Names()


@pytest.fixture(autouse=True)
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A certificate of the server's, which is trusted."""
    certificate = tmp_path / "shop.pem"
    write_certificate(certificate, [HOST])
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    return certificate


@pytest.fixture
async def tools(names: Names) -> AsyncIterator[Tools]:
    """Tools that may reach the host, whatever its addresses are."""
    settings = {"nats_url": "nats://nobody", "postgres_dsn": "postgresql://nobody", "fetch_allow": [HOST, "other.test"]}
    made = Tools(WorkerSettings.model_validate(settings), names.look_up)
    yield made
    await made.close()


async def list_tools(tools: Tools, serving: str, host: str = HOST) -> list[str]:
    """List the tools of what is served, by a name."""
    url = str(URL(serving).with_host(host) / "mcp")
    server = {"type": "mcp", "server_label": "shop", "server_url": url, "require_approval": "never"}
    return [tool["name"] for tool in await tools.list_tools(server, {}, "tenant")]


async def test_addresses_of_a_name(tools: Tools, names: Names) -> None:
    """A name is looked up once for a connection, each of its addresses is tried, and the server is told the name."""
    async with serve_app(scripted := ScriptedMcp()) as serving:
        assert await list_tools(tools, serving) == ["add"]
        assert names.asked == [HOST]
        assert {headers["host"] for headers in scripted.headers} == {f"{HOST}:{URL(serving).port}"}


async def test_certificate(tools: Tools, certificate: Path) -> None:
    """A server proves by its certificate that it has the name that it is called by."""
    async with serve_app(ScriptedMcp(), certificate=certificate) as serving:
        assert await list_tools(tools, serving) == ["add"]
        with pytest.raises(ToolError) as failed:
            await list_tools(tools, serving, "other.test")
        assert failed.value.message == UNREACHABLE
        await tools.close()  # a server's end of a connection with TLS waits for ours
