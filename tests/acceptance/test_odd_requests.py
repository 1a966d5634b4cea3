"""Requests that no client should send: each is refused in words about the request, at once, and harms nobody else."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from support.deployment import Gateway

SOON = 10  # seconds; what is refused takes a fraction of one
BODY = {"model": "stand-in", "input": "hello"}
FUNCTION = {"type": "function", "name": "f"}
# What stands in the messages of the libraries that we are built on.
INSIDES = ("_kind", "discriminator", "pydantic", "validation", "Value error", "Traceback", "orjson", "asyncpg")


async def post(gateway: Gateway, content: bytes, path: str = "/v1/responses", **headers: str) -> httpx.Response:
    """Post a body as it is."""
    headers = {"content-type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    async with httpx.AsyncClient(base_url=gateway.url, timeout=SOON) as http:
        return await http.post(path, content=content, headers=headers)


async def get(gateway: Gateway, path: str) -> httpx.Response:
    """Get a path."""
    async with httpx.AsyncClient(base_url=gateway.url, timeout=SOON) as http:
        return await http.get(path)


def refusal(answer: httpx.Response, status: int = 400) -> tuple[str | None, str | None, str]:
    """Return code, param and message of a refusal that has OpenAI's shape and nothing of our insides in it."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "code", "param"}
    assert error["type"] == "invalid_request_error"
    assert not any(inside in error["message"] for inside in INSIDES), error["message"]
    return error["code"], error["param"], error["message"]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "missing_required_parameter"),
        (b"{", "invalid_json"),
        (b"[]", "invalid_value"),
        (b"null", "invalid_value"),
        (b'"hello"', "invalid_value"),
        (b'{"model": "stand-in", "input": "\xff"}', "bad_request"),
        (b'{"model": "stand-in", "input": "a\nb"}', "invalid_json"),
        (b'{"model": "stand-in", "input": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "bad_request"),
        (b'{"model": "stand-in", "input": "x", "seed": ' + b"9" * 5000 + b"}", "bad_request"),
    ],
)
async def test_what_is_no_json_object(gateway: Gateway, content: bytes, code: str) -> None:
    """A body that is no object of JSON is refused."""
    assert refusal(await post(gateway, content))[0] == code


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("input", r'"\ud800"'),
        ("seed", "18446744073709551616"),
        ("seed", "NaN"),
        ("seed", "1e400"),
        ("logit_bias", '{"1": [-Infinity]}'),
        ("tools", '[{"type": "function", "name": "f", "parameters": {"maximum": Infinity}}]'),
        ("seed", "[" * 65 + "]" * 65),
        ("metadata", r'{"a": "\u0000"}'),
        ("stop", r'["\u0000"]'),
        ("logit_bias", r'{"a\u0000": 1}'),
    ],
)
async def test_what_cannot_be_kept(gateway: Gateway, field: str, value: str) -> None:
    """What JSON or the database cannot carry is refused, and never becomes something else on its way to the model."""
    others = ", ".join(f"{json.dumps(name)}: {json.dumps(set_to)}" for name, set_to in BODY.items() if name != field)
    code, param, _ = refusal(await post(gateway, f'{{{others}, "{field}": {value}}}'.encode()))
    assert (code, param) == ("invalid_value", field)


async def test_nul(gateway: Gateway) -> None:
    """A text may hold a NUL, as tools' outputs do; lists of responses by model can be read all the same."""
    answer = await post(gateway, json.dumps({**BODY, "input": "a\0b", "metadata": {"not": "\\u0000"}}).encode())
    assert answer.json()["status"] == "completed"
    items = (await get(gateway, f"/v1/responses/{answer.json()['id']}/input_items")).json()["data"]
    assert items[0]["content"] == [{"type": "input_text", "text": "a\0b"}]
    listed = await get(gateway, "/v1/responses?model=stand-in&limit=1")
    assert listed.json()["data"][0]["id"] == answer.json()["id"]


@pytest.mark.parametrize(
    ("asked", "param", "message"),
    [
        ({"temperature": True}, "temperature", "should be a valid number"),
        ({"temperature": "1"}, "temperature", "should be a valid number"),
        ({"stream": "yes"}, "stream", "should be a valid boolean"),
        ({"max_output_tokens": 20.5}, "max_output_tokens", "should be a valid integer"),
        ({"max_output_tokens": 15}, "max_output_tokens", "greater than or equal to 16"),
        ({"top_logprobs": 21}, "top_logprobs", "less than or equal to 20"),
        ({"presence_penalty": -2.1}, "presence_penalty", "greater than or equal to -2"),
        ({"metadata": {str(n): "" for n in range(17)}}, "metadata", "at most 16 items, not more"),
        ({"metadata": {"a": 1}}, "metadata.a", "should be a valid string"),
        ({"include": ["everything"]}, "include[0]", "should be 'reasoning.encrypted_content'"),
        ({"include": ["reasoning.encrypted_content"] * 33}, "include", "at most 32 items, not 33"),
        ({"input": []}, "input", "at least 1 item, not 0"),
        ({"input": [5]}, "input[0]", "it is not an object of a known type"),
        ({"input": [{"type": "file_search_call", "id": "x"}]}, "input[0]", "'file_search_call' is not supported here"),
        ({"tools": [{"type": "file_search"}]}, "tools[0]", "the knowledge service, which searches files, is not there"),
        ({"tool_choice": {"type": "file_search"}}, "tool_choice", "'file_search' is not available"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input[0]", "'tool' is not supported here"),
        ({"input": [{"role": "user", "content": [5]}]}, "input[0].content[0]", "it is not an object"),
        ({"input": [{"role": "user"}]}, "input[0].content", "Missing required parameter"),
        ({"instructions": [{"role": "system"}]}, "instructions[0].content", "Missing required parameter"),
        ({"tools": [FUNCTION] * 129}, "tools", "at most 128 items, not 129"),
        ({"tools": [{"type": "code_interpreter"}]}, "tools[0]", "'code_interpreter' is not supported here"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools[0].name", "Missing required parameter"),
        ({"tools": [{**FUNCTION, "name": "é"}]}, "tools[0].name", "should match pattern"),
        ({"text": {"format": {}}}, "text.format", "it is not an object of a known type"),
        ({"text": {"format": {"type": "xml"}}}, "text.format", "'xml' is not supported here"),
        ({"stream_options": {}}, "stream_options", "'stream' set to true"),
        ({"context_management": [{"type": "compaction", "compact_threshold": 9}]}, None, "greater than or equal to"),
        ({"conversation": ""}, "conversation", "should match pattern"),
        ({"previous_response_id": "r" * 65}, "previous_response_id", "should match pattern"),
        ({"x" * 2000: "\ud800"}, "x" * 256, "JSON cannot carry"),
    ],
)
async def test_values(gateway: Gateway, asked: dict[str, Any], param: str | None, message: str) -> None:
    """A value of the wrong type or size is refused, with its place in the body and what is wrong with it."""
    code, place, said = refusal(await post(gateway, json.dumps({**BODY, **asked}).encode()))
    assert code in {"invalid_value", "missing_required_parameter"}
    assert place == param or param is None
    assert message in said
    assert len(said) < 1000


async def test_content_type(gateway: Gateway) -> None:
    """A body that is not said to be JSON, as curl sends it by itself, is refused with the way to say so."""
    sent = await post(gateway, json.dumps(BODY).encode(), content_type="application/x-www-form-urlencoded")
    code, _, message = refusal(sent)
    assert code == "unsupported_content_type"
    assert "content-type: application/json" in message


@pytest.mark.parametrize(
    "asked",
    [
        {"input": [5] * 1_000_000},
        {"input": [{"role": "user", "content": [5] * 1000}] * 1000},
        {"input": [{"role": "user", "content": ""}] * 100_000},
        {"include": ["x"] * 500_000},
        {"include": ["x," * 1_000_000]},
        {"instructions": [5] * 1_000_000},
        {"tools": [5] * 1_000_000},
    ],
)
async def test_a_million_faults(gateway: Gateway, asked: dict[str, Any]) -> None:
    """A large body that is wrong all over is refused at its first fault: a gateway that tells of all stands still."""
    content = json.dumps({**BODY, **asked}).encode()
    async with asyncio.timeout(SOON / 2):
        refusal(await post(gateway, content))


@pytest.mark.parametrize(
    ("parameter", "hint"),
    [
        ("messages", "Use 'input'"),
        ("max_tokens", "Use 'max_output_tokens'"),
        ("response_format", "Use 'text.format'"),
        ("logprobs", "Use 'include'"),
        ("n", "one answer"),
        ("guardrails", "as if they were"),
        ("moderation", "as if it were"),
        ("background_options", "as soon as it can"),
    ],
)
async def test_parameters_that_would_do_nothing(gateway: Gateway, parameter: str, hint: str) -> None:
    """A parameter that would be passed over in silence, or do something else, is refused with what to do instead."""
    code, param, message = refusal(await post(gateway, json.dumps({**BODY, parameter: {}}).encode()))
    assert code in {"unknown_parameter", "unsupported_parameter"}
    assert param == parameter
    assert hint in message


@pytest.mark.parametrize(
    ("name", "value"),
    [("idempotency_key", ""), ("idempotency_key", "k" * 256), ("x_stainless_retry_count", "often")],
)
async def test_headers(gateway: Gateway, name: str, value: str) -> None:
    """A header that cannot be meant is refused by its name."""
    answer = await post(gateway, json.dumps(BODY).encode(), **{name: value})
    assert refusal(answer)[1] == name.replace("_", "-")


@pytest.mark.parametrize("name", ["%00", "%ED%A0%80", "..%2f..", "a%20b", "x" * 5000, "resp_%0d%0ax:1"])
@pytest.mark.parametrize(
    "path",
    [
        "/v1/responses/{}",
        "/v1/responses/{}?stream=true",
        "/v1/responses/{}/input_items",
        "/v1/conversations/{}",
        "/v1/conversations/{}/items",
        "/v1/turns/{}/events",
        "/v1/prompts/{}",
        "/v1/models/{}",
    ],
)
async def test_names_in_paths(gateway: Gateway, path: str, name: str) -> None:
    """What cannot be the name of anything is not found."""
    refusal(await get(gateway, path.format(name)), httpx.codes.NOT_FOUND)


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=101",
        "limit=1.5",
        "limit=99999999999999999999",
        "order=up",
        "after=%00",
        f"after={'x' * 65}",
        "colour=red",
        "include=everything",
    ],
)
async def test_queries(gateway: Gateway, query: str) -> None:
    """A query that cannot be done is refused, whichever list is asked for."""
    response = (await post(gateway, json.dumps(BODY).encode())).json()["id"]
    conversation = (await post(gateway, b"{}", "/v1/conversations")).json()["id"]
    for path in ("responses", f"responses/{response}/input_items", f"conversations/{conversation}/items"):
        refusal(await get(gateway, f"/v1/{path}?{query}"))
