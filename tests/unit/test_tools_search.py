"""The web search without its providers: keys, limits, and what their adapters' answers are read as."""

from typing import Any

import pytest

from turnstream_worker.settings import WorkerSettings
from turnstream_worker.tools.stack_search import from_brave, from_tavily
from turnstream_worker.tools.tool import ToolResult
from turnstream_worker.tools.tools import Tools
from turnstream_worker.tools.web_search import SearchKeys


def test_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request's own key comes before the operator's, and Brave before Tavily."""
    monkeypatch.setenv("BRAVE_SEARCH_API_KEY", "")
    monkeypatch.setenv("TAVILY_SEARCH_API_KEY", "operators")
    keys = SearchKeys.of(WorkerSettings(nats_url="nats://nobody", postgres_dsn="postgresql://nobody"))
    assert keys.choose({}) == ("tavily", "operators")
    assert keys.choose({"provider_data": {"tavily_search_api_key": "mine"}}) == ("tavily", "mine")
    assert keys.choose({"provider_data": {"brave_search_api_key": "mine"}}) == ("brave", "mine")
    assert SearchKeys({}).choose({"provider_data": {}}) is None
    assert "operators" not in repr(keys)


@pytest.mark.parametrize("arguments", [{}, {"query": " "}, {"query": 1}])
async def test_query(arguments: dict[str, Any]) -> None:
    """A search without words to search for is refused."""
    result = await search(arguments, {"provider_data": {"brave_search_api_key": "key"}})
    assert result == ToolResult("The search needs a 'query' that is a text.", failed=True)


async def test_no_key() -> None:
    """A search for which there is no key says so."""
    result = await search({"query": "tea"}, {})
    assert result == ToolResult("The web search is not set up: there is no API key for Brave or Tavily.", failed=True)


def test_braves_answer() -> None:
    """Pages, and what is grouped, are read; what has no address is left out."""
    content = (
        "{'type': 'search_result', 'title': 'Tea', 'url': 'https://tea.test/', 'description': 'a\\nb'}\n"
        "[{'question': 'Why?', 'answer': 'So.', 'title': 'FAQ', 'url': 'https://faq.test/'}, {'title': 'none'}]\n"
    )
    assert from_brave(content) == [
        {"title": "Tea", "url": "https://tea.test/", "snippet": "a\nb"},
        {"title": "FAQ", "url": "https://faq.test/", "snippet": "So."},
    ]
    assert from_brave("") == []


def test_tavilys_answer() -> None:
    """Results are read with their text."""
    content = '{"query": "tea", "top_k": [{"title": null, "url": "https://tea.test/", "content": "hot", "score": 1}]}'
    assert from_tavily(content) == [{"title": "https://tea.test/", "url": "https://tea.test/", "snippet": "hot"}]


async def search(arguments: dict[str, Any], secrets: dict[str, Any]) -> ToolResult:
    """Search with a worker that has no key."""
    tools = Tools(WorkerSettings(nats_url="nats://nobody", postgres_dsn="postgresql://nobody"))
    try:
        box = tools.toolbox([{"type": "web_search"}], {}, set(), secrets, "tenant")
        return await box["web_search"].call(arguments, "key")
    finally:
        await tools.close()
