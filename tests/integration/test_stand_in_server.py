"""The stand-in model as a process of its own, called by the real SDK and by bare sockets."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionChunk

from turnstream_local.stand_in.app import MODELS

DEADLINE = 20
"""Seconds; nothing here takes one."""
COMMAND = [sys.executable, "-m", "turnstream_local.stand_in", "--port", "0"]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Start the process and give its address; it must end cleanly and have nothing to complain about."""
    with subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        line = process.stdout.readline()
        try:
            yield line.split()[-1].removesuffix("/v1")
        finally:
            process.terminate()
            _, complaints = process.communicate(timeout=DEADLINE)
        assert complaints == ""


@pytest.fixture
async def sdk(url: str) -> AsyncIterator[openai.AsyncOpenAI]:
    """Make a client of the real SDK, which does not hide failures by trying again."""
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=DEADLINE) as client:
        yield client


@pytest.fixture
async def plain(url: str) -> AsyncIterator[httpx.AsyncClient]:
    """Make a client for what the SDK does not know; scripts are forgotten afterwards."""
    async with httpx.AsyncClient(base_url=url, timeout=DEADLINE) as client:
        yield client
        await client.delete("/script")


async def script(plain: httpx.AsyncClient, match: str, *replies: dict[str, Any]) -> None:
    """Lay down a script."""
    response = await plain.post("/script", json={"match": match, "replies": list(replies)})
    assert response.status_code == 201, response.text


def ask(text: str) -> dict[str, Any]:
    """Make the part of a request that all have."""
    return {"model": "stand-in", "messages": [{"role": "user", "content": text}]}


async def collect(stream: openai.AsyncStream[ChatCompletionChunk], said: list[str]) -> None:
    """Put what a stream says into a list."""
    async for chunk in stream:
        said.append(chunk.choices[0].delta.content or "")  # noqa: PERF401 - keeps what came before a failure


async def open_raw(url: str, text: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Ask for a stream on a bare socket."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    body = json.dumps({**ask(text), "stream": True}).encode()
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    return reader, writer


async def close_raw(writer: asyncio.StreamWriter) -> None:
    """Close a bare socket."""
    writer.close()
    await writer.wait_closed()


async def test_models_and_health(sdk: openai.AsyncOpenAI, plain: httpx.AsyncClient) -> None:
    """The SDK lists the models, and the process says that it is well."""
    assert [model.id async for model in sdk.models.list()] == list(MODELS)
    assert (await plain.get("/health")).status_code == 200


async def test_sdk_reads_an_answer(sdk: openai.AsyncOpenAI) -> None:
    """The SDK parses an answer with its usage and logprobs."""
    made = await sdk.chat.completions.create(**ask("Hello"), logprobs=True, top_logprobs=1)
    assert '"Hello"' in (made.choices[0].message.content or "")
    assert made.choices[0].logprobs
    assert made.usage
    assert made.usage.completion_tokens == len(made.choices[0].logprobs.content or [])


async def test_sdk_reads_a_stream(sdk: openai.AsyncOpenAI) -> None:
    """The SDK reads one chunk for each token, an end with its reason, and the usage last."""
    stream = await sdk.chat.completions.create(
        **ask("[stand-in tokens=12] Hi"), stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    said = [chunk.choices[0].delta.content for chunk in chunks[:-1] if chunk.choices[0].delta.content]
    assert len(said) == 12
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage
    assert chunks[-1].usage.completion_tokens == 12
    assert len({chunk.id for chunk in chunks}) == 1


async def test_sdk_gathers_a_streamed_tool_call(sdk: openai.AsyncOpenAI) -> None:
    """The SDK's own accumulator puts the call together from its pieces."""
    parameters = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    offered: Any = [{"type": "function", "function": {"name": "add", "parameters": parameters}}]
    async with sdk.chat.completions.stream(**ask("add 5"), tools=offered) as stream:
        made = await stream.get_final_completion()
    calls = made.choices[0].message.tool_calls or []
    assert made.choices[0].finish_reason == "tool_calls"
    assert [(call.function.name, json.loads(call.function.arguments)) for call in calls] == [("add", {"a": 5})]


async def test_sdk_raises_its_own_errors(sdk: openai.AsyncOpenAI, plain: httpx.AsyncClient) -> None:
    """Refusals and scripted failures become the SDK's errors."""
    with pytest.raises(openai.NotFoundError) as unknown:
        await sdk.chat.completions.create(**{**ask("Hi"), "model": "other"})
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError):
        await sdk.chat.completions.create(model="stand-in", messages=[])
    await script(plain, "limited", {"error": {"status": 429, "retry_after": 2}})
    with pytest.raises(openai.RateLimitError) as limited:
        await sdk.chat.completions.create(**ask("limited"))
    assert limited.value.response.headers["retry-after"] == "2"


async def test_error_frame_ends_a_stream(sdk: openai.AsyncOpenAI, plain: httpx.AsyncClient) -> None:
    """A failure in mid-stream comes behind its tokens and is an error of the SDK."""
    await script(plain, "breaks", {"text": "a b c", "error": {"after_tokens": 2, "message": "broke"}})
    stream, said = await sdk.chat.completions.create(**ask("breaks"), stream=True), list[str]()
    with pytest.raises(openai.APIError, match="broke"):
        await collect(stream, said)
    assert "".join(said) == "a b"


@pytest.mark.parametrize("after_tokens", [0, 2])
async def test_connection_is_dropped(url: str, plain: httpx.AsyncClient, after_tokens: int) -> None:
    """A dropped connection ends behind its tokens with neither an error nor an end of the stream."""
    await script(plain, "drops", {"text": "a b c", "error": {"kind": "drop", "after_tokens": after_tokens}})
    reader, writer = await open_raw(url, "drops")
    received = await asyncio.wait_for(reader.read(), DEADLINE)
    await close_raw(writer)
    assert received.count(b'{"content": "') == after_tokens
    assert b"[DONE]" not in received
    assert bool(received) == bool(after_tokens)


async def test_each_token_is_an_http_chunk_of_its_own(url: str) -> None:
    """On the wire every token has its own HTTP chunk, which holds one event (the first also the role's)."""
    reader, writer = await open_raw(url, "[stand-in tokens=5] Hi")
    await reader.readuntil(b"\r\n\r\n")
    events = []
    while size := int(await reader.readline(), 16):
        events.append((await reader.readexactly(size + 2)).count(b"data: "))
    await close_raw(writer)
    assert events == [2, 1, 1, 1, 1, 2]


async def test_hang_keeps_the_connection_open(url: str, plain: httpx.AsyncClient) -> None:
    """An answer that hangs sends its tokens and then nothing, and a client that leaves does no harm."""
    await script(plain, "hangs", {"text": "a b", "hang": True})
    reader, writer = await open_raw(url, "hangs")
    received = await asyncio.wait_for(reader.readuntil(b'" b"'), DEADLINE)
    assert b"[DONE]" not in received
    rest = asyncio.ensure_future(reader.read())
    # Two requests that began later are answered meanwhile.
    for _ in range(2):
        await plain.post("/v1/chat/completions", json=ask("Hi"))
    assert not rest.done()
    rest.cancel()
    await close_raw(writer)
    assert (await plain.get("/health")).status_code == 200


async def test_leaving_in_mid_stream_does_no_harm(url: str, plain: httpx.AsyncClient) -> None:
    """A client that leaves a long stream leaves a server that is well and silent (the fixture reads its stderr)."""
    for _ in range(20):
        reader, writer = await open_raw(url, "[stand-in tokens=10000 delay_ms=1] Hi")
        await asyncio.wait_for(reader.readuntil(b"data: "), DEADLINE)
        writer.transport.abort()
    assert (await plain.get("/health")).status_code == 200


async def test_five_hundred_connect_at_once(url: str) -> None:
    """Five hundred streams opened together are all answered in full."""

    async def one() -> bytes:
        reader, writer = await open_raw(url, "[stand-in tokens=3 delay_ms=5] Hi")
        received = await reader.readuntil(b"\r\n0\r\n\r\n")
        await close_raw(writer)
        return received

    answers = await asyncio.wait_for(asyncio.gather(*(one() for _ in range(500))), DEADLINE)
    assert all(b"data: [DONE]" in received for received in answers)


async def test_paced_stream_is_not_early(url: str) -> None:
    """A stream takes the time of all its tokens, the first one's too."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    reader, writer = await open_raw(url, "[stand-in tokens=20 delay_ms=10] Hi")
    await asyncio.wait_for(reader.readuntil(b"\r\n0\r\n\r\n"), DEADLINE)
    await close_raw(writer)
    assert loop.time() - began >= 0.19  # 0.2 s, less the clock's grain


async def test_taken_port_is_named(url: str) -> None:
    """A port that is taken ends the process with one line that names it."""
    port = url.rsplit(":", maxsplit=1)[-1]
    process = await asyncio.create_subprocess_exec(*COMMAND[:-1], port, stderr=asyncio.subprocess.PIPE)
    _, complaint = await asyncio.wait_for(process.communicate(), DEADLINE)
    assert process.returncode == 1
    assert complaint.decode().startswith(f"cannot listen on 127.0.0.1:{port}: Address already in use")
    assert len(complaint.splitlines()) == 1
