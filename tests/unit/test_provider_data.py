"""The header that llama-stack-client sends its user's own keys by."""

from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from turnstream_gateway import failures
from turnstream_gateway.provider_data import NAME, PROVIDER_DATA_LIMIT, ProviderData, read_provider_data


async def taken(*headers: str | bytes) -> httpx.Response:
    """Return what an application answers that returns what it has taken."""
    app = FastAPI()
    failures.install(app)

    @app.get("/")
    async def data(x_llamastack_provider_data: ProviderData = None) -> Any:
        return read_provider_data(x_llamastack_provider_data)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app") as client:
        given = [(NAME.encode(), header.encode() if isinstance(header, str) else header) for header in headers]
        return await client.get("/", headers=given)


@pytest.mark.parametrize(
    ("header", "data"),
    [
        ('{"tavily_search_api_key": "k"}', {"tavily_search_api_key": "k"}),
        ("{}", {}),
        ('{"a": {"ü": [1]}}', {"a": {"ü": [1]}}),
    ],
)
async def test_taken(header: str, data: Any) -> None:
    """It is a JSON object, in UTF-8."""
    assert (await taken(header)).json() == data
    assert (await taken()).json() is None


@pytest.mark.parametrize(
    "header",
    [
        "",
        "hush",
        '"hush"',
        '["hush"]',
        "null",
        '{"hush": ',
        b'{"hush": "\xff"}',
        '{"hush": NaN}',
        '{"hush": "\\ud800"}',
        '{"hush": ' + "[" * 70 + "]" * 70 + "}",
        '{"hush": "\\u0000"}',
        f'{{"hush": "{"x" * PROVIDER_DATA_LIMIT}"}}',
    ],
)
async def test_malformed(header: str | bytes) -> None:
    """Anything else is refused, and not told again: it is full of secrets."""
    answer = await taken(header)
    assert answer.status_code == httpx.codes.BAD_REQUEST
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("invalid_value", NAME)
    assert "hush" not in answer.text
