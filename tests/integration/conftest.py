"""What several of these tests run against."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from support.asgi import serve_app
from support.hostile_mcp import PATIENCE, new_tools
from support.scripted_mcp import ScriptedMcp

from turnstream_local.layout import temporary_data_directory
from turnstream_worker.tools.tools import Tools


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """Give an empty data directory that PostgreSQL's account can reach."""
    with temporary_data_directory() as path:
        yield path


@pytest.fixture(scope="module")
async def serving() -> AsyncIterator[tuple[ScriptedMcp, str]]:
    """A server for all of these tests."""
    scripted = ScriptedMcp()
    async with serve_app(scripted) as url:
        yield scripted, f"{url}/mcp"


@pytest.fixture
def shop(serving: tuple[ScriptedMcp, str]) -> tuple[ScriptedMcp, str]:
    """A server that behaves so far, and its URL."""
    serving[0].reset()
    return serving


@pytest.fixture
def logged(capfdbinary: pytest.CaptureFixture[bytes], caplog: pytest.LogCaptureFixture) -> Callable[[], bytes]:
    """Return what was logged since, by whichever way."""
    return lambda: b"".join(capfdbinary.readouterr()) + caplog.text.encode()


@pytest.fixture
async def tools() -> AsyncIterator[Tools]:
    """Tools of little patience."""
    made = new_tools(PATIENCE)
    yield made
    await made.close()
