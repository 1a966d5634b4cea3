"""Llama Stack's web searches. It takes seconds to import, so it is imported late.

They are called as a library even where the models are a server's: Llama Stack 0.7 runs no tools over HTTP.
"""

import ast
from collections.abc import Callable
from typing import Any

import httpx
import orjson
from llama_stack.providers.remote.tool_runtime.brave_search.brave_search import BraveSearchToolRuntimeImpl
from llama_stack.providers.remote.tool_runtime.brave_search.config import BraveSearchToolConfig
from llama_stack.providers.remote.tool_runtime.tavily_search.config import TavilySearchToolConfig
from llama_stack.providers.remote.tool_runtime.tavily_search.tavily_search import TavilySearchToolRuntimeImpl

from turnstream_worker.tools.tool import ToolError

type Found = dict[str, Any]  # {"title", "url", "snippet"}


async def brave(key: str, query: str, count: int) -> list[Found]:
    """Search by Brave; raise ToolError."""
    runtime = BraveSearchToolRuntimeImpl(BraveSearchToolConfig(api_key=key, max_results=count))
    return (await _search(runtime, query, from_brave))[:count]


async def tavily(key: str, query: str, count: int) -> list[Found]:
    """Search by Tavily; raise ToolError."""
    runtime = TavilySearchToolRuntimeImpl(TavilySearchToolConfig(api_key=key, max_results=count))
    return (await _search(runtime, query, from_tavily))[:count]


def from_brave(content: str) -> list[Found]:
    """Read what the adapter makes of Brave's answer: a line for each group of results, in Python's notation."""
    groups = [ast.literal_eval(line) for line in content.split("\n") if line]
    found = [item for group in groups for item in (group if isinstance(group, list) else [group])]
    return [_found(item, item.get("description") or item.get("answer")) for item in found if item.get("url")]


def from_tavily(content: str) -> list[Found]:
    """Read what the adapter makes of Tavily's answer: JSON."""
    return [_found(item, item.get("content")) for item in orjson.loads(content)["top_k"] if item.get("url")]


def _found(item: dict[str, Any], snippet: Any) -> Found:
    return {"title": str(item.get("title") or item["url"]), "url": str(item["url"]), "snippet": str(snippet or "")}


async def _search(runtime: Any, query: str, read: Callable[[str], list[Found]]) -> list[Found]:
    """Ask by an adapter, whose errors may quote the request: nothing of them is told."""
    try:
        return read((await runtime.invoke_tool("web_search", {"query": query})).content)
    except httpx.HTTPStatusError as error:
        status = error.response.status_code
        raise ToolError(f"The web search answered with HTTP status {status}.", reason="bad_status") from None
    except httpx.HTTPError:
        raise ToolError("The web search could not be reached.", reason="unreachable") from None
    except (ValueError, LookupError, TypeError, AttributeError, SyntaxError):  # the answer is not what was expected
        raise ToolError("The web search's answer makes no sense.", reason="invalid") from None
