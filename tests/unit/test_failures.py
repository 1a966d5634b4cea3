"""Every failure of a request as an answer in OpenAI's shape, which names the place in the body."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.responses import JSONResponse

from turnstream.errors import BusUnavailableError, ConflictError, StoreUnavailableError
from turnstream_gateway import failures
from turnstream_gateway.pages import PageQuery
from turnstream_gateway.requests import CreateResponse

TEXT = {"type": "text", "text": "hello"}
RAISED = {
    "fault": ZeroDivisionError("a secret of ours"),
    "bus": BusUnavailableError("nats://secret does not answer"),
    "store": StoreUnavailableError("postgresql://secret does not answer"),
    "conflict": ConflictError("It has ended.", code="response_already_ended", param="id"),
}


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application that reads bodies and queries, and fails on demand."""
    app = FastAPI()
    failures.install(app)

    @app.post("/read")
    async def read(body: CreateResponse) -> JSONResponse:
        return JSONResponse(body.parameters())

    @app.get("/page")
    async def page(page: PageQuery) -> JSONResponse:
        return JSONResponse(page.limit)

    @app.get("/raise/{name}")
    async def fail(name: str) -> None:
        raise RAISED[name]

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


async def refusal(client: httpx.AsyncClient, **body: Any) -> tuple[str, str]:
    """Return how a body is refused: the place and the code."""
    answer = await client.post("/read", json={"model": "m", "input": "hello", **body})
    assert answer.status_code == httpx.codes.BAD_REQUEST
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert f"'{error['param']}'" in error["message"]
    return error["param"], error["code"]


def user(*content: Any) -> list[dict[str, Any]]:
    """Make an input of one message."""
    return [{"role": "user", "content": list(content)}]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"model": 5}, "model"),
        ({"input": []}, "input"),
        ({"input": ["hello"]}, "input[0]"),
        ({"input": [{"role": "user", "content": "x"}, {"type": "song"}]}, "input[1]"),
        ({"input": [{"role": "nobody", "content": "x"}]}, "input[0]"),
        ({"input": user({"type": "text", "text": 5})}, "input[0].content[0].text"),
        ({"input": [{"role": "system", "content": [{**TEXT, "text": 5}]}]}, "input[0].content[0].text"),
        ({"input": user(TEXT, {"type": "song"})}, "input[0].content[1]"),
        ({"input": user({"type": "input_file"})}, "input[0].content[0]"),
        ({"input": [{"type": "function_call_output", "call_id": "c", "output": 5}]}, "input[0].output"),
        ({"tools": [{"type": "code_interpreter"}]}, "tools[0]"),
        ({"tools": [{"type": "function", "name": "no.dots"}]}, "tools[0].name"),
        ({"text": {"format": {"type": "text"}, "verbosity": "huge"}}, "text.verbosity"),
        ({"metadata": {"k": 1}}, "metadata.k"),
        ({"include": ["message.output_text.logprobs", "x"]}, "include[1]"),
        ({"conversation": {"id": 5}}, "conversation"),
        ({"prompt": {"id": "p", "variables": {"a": 5}}}, "prompt.variables.a"),
        (
            {"context_management": [{"type": "compaction", "compact_threshold": 1}]},
            "context_management[0].compact_threshold",
        ),
        ({"temperature": 3}, "temperature"),
    ],
)
async def test_wrong_value(client: httpx.AsyncClient, body: dict[str, Any], param: str) -> None:
    """A wrong value is named by its place in the body, and by nothing that stands only in our code."""
    assert await refusal(client, **body) == (param, "invalid_value")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": user({"type": "text"})}, "input[0].content[0].text"),
        ({"input": user({"type": "input_image"})}, "input[0].content[0].image_url"),
        ({"input": [{"role": "assistant", "content": [{"type": "refusal"}]}]}, "input[0].content[0].refusal"),
        ({"input": [{"type": "function_call", "call_id": "c", "name": "f"}]}, "input[0].arguments"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [{"type": "custom", "name": "g", "format": {"type": "grammar"}}]}, "tools[0].format.syntax"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema"),
        ({"prompt": {"variables": {}}}, "prompt.id"),
    ],
)
async def test_missing_field(client: httpx.AsyncClient, body: dict[str, Any], param: str) -> None:
    """A field that is missing is named by the place where it should stand."""
    assert await refusal(client, **body) == (param, "missing_required_parameter")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": [{"role": "user", "content": "x", "colour": "red"}]}, "input[0].colour"),
        ({"input": user({**TEXT, "colour": "red"})}, "input[0].content[0].colour"),
        ({"input": user({"type": "input_text", "text": "x", "colour": "red"})}, "input[0].content[0].colour"),
        ({"input": [{"role": "system", "content": [{**TEXT, "colour": "red"}]}]}, "input[0].content[0].colour"),
        (
            {"input": [{"role": "assistant", "content": [{"type": "refusal", "refusal": "x", "colour": "red"}]}]},
            "input[0].content[0].colour",
        ),
        ({"input": [{"role": "user", "content": "x", "user": "red"}]}, "input[0].user"),
        ({"tools": [{"type": "function", "name": "f", "colour": "red"}]}, "tools[0].colour"),
        ({"tools": [{"type": "function", "name": "f", "function": {}}]}, "tools[0].function"),
        ({"text": {"format": {"type": "text", "colour": "red"}}}, "text.format.colour"),
        (
            {"text": {"format": {"type": "json_schema", "name": "x", "schema": {}, "schema_": {}}}},
            "text.format.schema_",
        ),
        ({"reasoning": {"colour": "red"}}, "reasoning.colour"),
    ],
)
async def test_unknown_field(client: httpx.AsyncClient, body: dict[str, Any], param: str) -> None:
    """A field that is not known is named by its place, also where another one is called as its object's type."""
    assert await refusal(client, **body) == (param, "unknown_parameter")


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"n": 2}, "n", "unsupported_parameter"),
        ({"max_tokens": 20}, "max_tokens", "unknown_parameter"),
        ({"conversation": "c", "previous_response_id": "r"}, "previous_response_id", "mutually_exclusive"),
        ({"stream_options": {}}, "stream_options", "invalid_value"),
        ({"vendor": 1 << 64}, "vendor", "invalid_value"),
    ],
)
async def test_what_does_not_go_together(
    client: httpx.AsyncClient, body: dict[str, Any], param: str, code: str
) -> None:
    """What is refused for more than its form is answered in the same shape."""
    assert await refusal(client, **body) == (param, code)


@pytest.mark.parametrize(
    ("content", "code", "param"),
    [
        ("{", "invalid_json", None),
        ("", "missing_required_parameter", "body"),
        ("[]", "invalid_value", "body"),
        ("5", "invalid_value", "body"),
        ("null", "invalid_value", "body"),
        ("{}", "missing_required_parameter", "model"),
    ],
)
async def test_what_is_no_body(client: httpx.AsyncClient, content: str, code: str, param: str | None) -> None:
    """A body that is no object, or no JSON at all, is refused as a whole."""
    answer = await client.post("/read", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == httpx.codes.BAD_REQUEST
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == (code, param)


@pytest.mark.parametrize(
    ("query", "code"),
    [("limit=0", "invalid_value"), ("colour=red", "unknown_parameter"), ("order=up", "invalid_value")],
)
async def test_wrong_query(client: httpx.AsyncClient, query: str, code: str) -> None:
    """A wrong query parameter is named."""
    answer = await client.get(f"/page?{query}")
    assert answer.status_code == httpx.codes.BAD_REQUEST
    error = answer.json()["error"]
    assert (error["param"], error["code"]) == (query.partition("=")[0], code)


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/none", 404), ("DELETE", "/page", 405)])
async def test_wrong_address(client: httpx.AsyncClient, method: str, path: str, status: int) -> None:
    """What is not there is answered in the same shape."""
    answer = await client.request(method, path)
    assert answer.status_code == status
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("name", "status", "code", "header"),
    [
        ("conflict", 409, "response_already_ended", ("x-should-retry", "false")),
        ("bus", 503, None, ("retry-after", "1")),
        ("store", 503, None, ("retry-after", "1")),
        ("fault", 500, "internal_error", None),
    ],
)
async def test_raised(
    client: httpx.AsyncClient, name: str, status: int, code: str | None, header: tuple[str, str] | None
) -> None:
    """What is raised is answered with its status, says whether to try again, and tells nothing of our insides."""
    answer = await client.get(f"/raise/{name}")
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == code
    assert header is None or header in answer.headers.items()
    assert "secret" not in answer.text
