"""Web searches through Llama Stack's own adapters, up to the wire: a proxy stands in for the providers' sites."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from support.search_site import SearchSite, serve_searches

from turnstream_worker.settings import WorkerSettings
from turnstream_worker.tools.tool import ToolResult
from turnstream_worker.tools.tools import Tools

BRAVE, TAVILY = "api.search.brave.com", "api.tavily.com"
KEYS = {
    BRAVE: {"provider_data": {"brave_search_api_key": "secret-key"}},
    TAVILY: {"provider_data": {"tavily_search_api_key": "secret-key"}},
}
PAGES = [
    {"title": f"Page {number}", "url": f"https://{host}/{number}", "description": "tea", "content": "tea", "score": 0.9}
    for number, host in enumerate(["tea.test", "www.tea.test", "other.test", "nottea.test"])
]
ANSWERS: dict[str, Any] = {
    BRAVE: {
        "mixed": {"main": [{"type": "web", "index": number} for number in range(4)]},
        "web": {"results": PAGES},
    },
    TAVILY: {"query": "green tea", "results": PAGES},
}


@pytest.fixture
async def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SearchSite]:
    """A stand-in for the providers, which the environment leads to."""
    async with serve_searches(tmp_path) as serving:
        monkeypatch.setenv("HTTPS_PROXY", serving.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.setenv("SSL_CERT_FILE", str(serving.certificate))
        serving.answers = {host: (200, answer) for host, answer in ANSWERS.items()}
        yield serving


async def search(host: str, **asked: Any) -> ToolResult:
    """Search by a provider."""
    tools = Tools(
        WorkerSettings.model_validate(
            {"nats_url": "nats://nobody", "postgres_dsn": "postgresql://nobody", "tool_timeout": 30}
        )
    )
    try:
        box = tools.toolbox([{"type": "web_search", **asked}], {}, set(), KEYS[host], "tenant")
        return await box["web_search"].call({"query": "green tea"}, "key")
    finally:
        await tools.close()


@pytest.mark.parametrize("host", [BRAVE, TAVILY])
async def test_search(site: SearchSite, host: str) -> None:
    """A search asks its provider by the key that came with the request, and tells title, address and text."""
    found = await search(host)
    assert not found.failed
    assert found.results == [{"title": page["title"], "url": page["url"], "snippet": "tea"} for page in PAGES]
    assert found.output.startswith("Page 0\nhttps://tea.test/0\ntea\n\nPage 1\n")
    [(line, headers, body)] = site.asked
    if host == BRAVE:
        assert line.startswith("GET /res/v1/web/search?q=green")
        assert headers["x-subscription-token"] == "secret-key"
    else:
        assert orjson.loads(body) == {"api_key": "secret-key", "query": "green tea"}


@pytest.mark.parametrize("host", [BRAVE, TAVILY])
async def test_what_a_request_may_narrow(site: SearchSite, host: str) -> None:
    """A small context is few results, and allowed domains leave out all others."""
    assert site.asked == []
    few = await search(host, search_context_size="low")
    assert [result["title"] for result in few.results or []] == ["Page 0", "Page 1", "Page 2"]
    allowed = await search(host, filters={"allowed_domains": ["Tea.test"]})
    assert [result["title"] for result in allowed.results or []] == ["Page 0", "Page 1"]
    assert await search(host, filters={"allowed_domains": ["none.test"]}) == ToolResult(
        "Nothing was found.", results=[]
    )


@pytest.mark.parametrize("host", [BRAVE, TAVILY])
@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((401, {"error": "secret-key"}), "The web search answered with HTTP status 401."),
        ((500, {}), "The web search answered with HTTP status 500."),
        ((200, b"<html>"), "The web search's answer makes no sense."),
        ((200, {"mixed": {"main": [{"type": "web", "index": 9}]}}), "The web search's answer makes no sense."),
    ],
)
async def test_provider_that_fails(
    site: SearchSite,
    capfdbinary: pytest.CaptureFixture[bytes],
    host: str,
    answer: tuple[int, Any],
    message: str,
) -> None:
    """A provider that refuses or sends nonsense is a result that has failed, with nothing secret in it or the log."""
    site.answers[host] = answer
    assert await search(host) == ToolResult(message, failed=True)
    assert b"secret-key" not in b"".join(capfdbinary.readouterr())


async def test_provider_out_of_reach(site: SearchSite, monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int) -> None:
    """A provider that does not answer is a result that has failed."""
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{unused_tcp_port}")
    assert await search(BRAVE) == ToolResult("The web search could not be reached.", failed=True)
    assert site.asked == []
