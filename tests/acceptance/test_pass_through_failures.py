"""What goes wrong with a call straight to a model is told with its status, or in the stream, or by breaking off."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import openai
import psutil
import pytest
from support.deployment import Deployment, Gateway

type Answered = tuple[int, str, dict[str, str]]
"""Status, code, and what the headers hold among others."""

CHAT = "/v1/chat/completions"
SOON = 10  # seconds; nothing here takes as long
SLOW = "[stand-in tokens=500 delay_ms=50] "


@pytest.fixture(scope="session")
async def http(gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    """A plain HTTP client of the gateway."""
    async with httpx.AsyncClient(base_url=gateway.url, timeout=30) as client:
        yield client


def ask(text: str, *, stream: bool = False) -> dict[str, Any]:
    """Make a chat request."""
    return {"model": "stand-in", "messages": [{"role": "user", "content": text}], "stream": stream}


async def until(true: Callable[[], Any]) -> None:
    """Wait until something is true, for as long as a test may wait."""
    async with asyncio.timeout(SOON):
        while not await true():  # noqa: ASYNC110 - another process has to be asked
            await asyncio.sleep(0.02)


async def left(deployment: Deployment, match: str) -> bool:
    """Tell whether the model has seen a client leave in the middle of its answer."""
    async with httpx.AsyncClient(base_url=deployment.model_url) as client:
        return bool((await client.get("/requests", params={"match": match})).json()["left"])


async def texts(stream: openai.AsyncStream[Any], said: list[str]) -> None:
    """Put what a stream says into a list."""
    async for chunk in stream:
        said.append(chunk.choices[0].delta.content or "")  # noqa: PERF401 - keeps what came before a failure


# What is refused before anything is asked of a model


@pytest.mark.parametrize(
    ("path", "body", "param", "code"),
    [
        (CHAT, {"messages": [{}]}, "model", "missing_required_parameter"),
        (CHAT, {"model": "stand-in"}, "messages", "missing_required_parameter"),
        (CHAT, {"model": "stand-in", "messages": []}, "messages", "invalid_value"),
        (CHAT, {"model": "stand-in", "messages": "Hello."}, "messages", "invalid_value"),
        (CHAT, {"model": 5, "messages": [{}]}, "model", "invalid_value"),
        (CHAT, {"model": "stand-in", "messages": [{}], "stream": "yes"}, "stream", "invalid_value"),
        (CHAT, ["not an object"], "body", "invalid_value"),
        ("/v1/completions", {"model": "stand-in"}, "prompt", "missing_required_parameter"),
        ("/v1/embeddings", {"model": "stand-in-embedding"}, "input", "missing_required_parameter"),
    ],
)
async def test_bad_request(http: httpx.AsyncClient, path: str, body: Any, param: str, code: str) -> None:
    """A body without what it needs is a 400 that names the parameter."""
    answer = await http.post(path, json=body)
    assert answer.status_code == httpx.codes.BAD_REQUEST
    assert (answer.json()["error"]["param"], answer.json()["error"]["code"]) == (param, code)


@pytest.mark.parametrize("content", [b"{", b'{"model": "stand-in", "messages": [NaN]}'])
async def test_malformed_json(http: httpx.AsyncClient, content: bytes) -> None:
    """A body that is not JSON is a 400 that says so."""
    answer = await http.post(CHAT, content=content, headers={"content-type": "application/json"})
    assert answer.status_code == httpx.codes.BAD_REQUEST
    assert answer.json()["error"]["code"] == "invalid_json"


@pytest.mark.parametrize("stream", [False, True])
async def test_unknown_model(http: httpx.AsyncClient, deployment: Deployment, stream: bool) -> None:
    """A model that does not exist is a 404, and nobody is asked."""
    answer = await http.post(CHAT, json={**ask("to nobody", stream=stream), "model": "no-such-model"})
    assert answer.status_code == httpx.codes.NOT_FOUND
    assert answer.json()["error"]["code"] == "model_not_found"
    assert await deployment.model_requests("to nobody") == []


async def test_model_for_another_use(http: httpx.AsyncClient) -> None:
    """A model that makes vectors does not chat."""
    answer = await http.post(CHAT, json={**ask("Hello."), "model": "stand-in-embedding"})
    assert answer.status_code == httpx.codes.BAD_REQUEST
    assert answer.json()["error"]["param"] == "model"


async def test_too_large(deployment: Deployment) -> None:
    """A body that the gateway would take, but no message can hold, is a 413."""
    gateway = await deployment.gateway(TURNSTREAM_BODY_LIMIT=str(20_000_000))
    async with httpx.AsyncClient(base_url=gateway.url, timeout=30) as http:
        answer = await http.post(CHAT, json=ask("x" * 10_000_000))
        assert answer.status_code == httpx.codes.REQUEST_ENTITY_TOO_LARGE
        assert answer.json()["error"]["code"] == "body_too_large"
        assert (await http.post(CHAT, json=ask("x" * 5_000_000))).status_code == httpx.codes.OK


# What the model's provider refuses, or breaks off


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("error", "answered"),
    [
        ({"status": 400, "message": "Bad."}, (400, "invalid_prompt", {"x-should-retry": "false"})),
        ({"status": 400, "code": "context_length_exceeded"}, (400, "context_length_exceeded", {})),
        ({"status": 404, "code": "model_not_found"}, (404, "model_not_found", {})),
        ({"status": 401, "message": "secret"}, (502, "server_error", {"x-should-retry": "false"})),
        ({"status": 403, "message": "secret"}, (502, "server_error", {"x-should-retry": "false"})),
        ({"status": 429, "retry_after": 2}, (429, "rate_limit_exceeded", {"retry-after": "2"})),
        ({"status": 429, "code": "insufficient_quota"}, (429, "insufficient_quota", {"x-should-retry": "false"})),
        ({"status": 500, "message": "secret"}, (502, "server_error", {})),
        ({"status": 503, "retry_after": 1.2}, (503, "server_error", {"retry-after": "2"})),
        ({"kind": "drop"}, (502, "server_error", {})),
    ],
)
async def test_provider_refuses(
    http: httpx.AsyncClient, deployment: Deployment, error: dict[str, Any], answered: Answered, stream: bool
) -> None:
    """What fails before the first chunk is an answer with the status that fits, and says whether to try again."""
    prompt = f"refuse with {error} {stream}"
    await deployment.script(prompt, {"error": error})
    answer = await http.post(CHAT, json=ask(prompt, stream=stream))
    status, code, headers = answered
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.headers.items() >= headers.items()
    assert "secret" not in answer.text


async def test_embeddings_refused(http: httpx.AsyncClient, deployment: Deployment) -> None:
    """So it is where vectors were asked for."""
    await deployment.script("no vector", {"error": {"status": 429, "retry_after": 3}})
    answer = await http.post("/v1/embeddings", json={"model": "stand-in-embedding", "input": "no vector"})
    assert answer.status_code == httpx.codes.TOO_MANY_REQUESTS
    assert answer.headers["retry-after"] == "3"


@pytest.mark.parametrize("error", [{"status": 500, "message": "No more."}, {"kind": "drop"}])
async def test_provider_fails_in_the_middle(gateway: Gateway, deployment: Deployment, error: dict[str, Any]) -> None:
    """What fails later comes as an error in the stream, behind what was said so far."""
    prompt = f"fail later with {error}"
    await deployment.script(prompt, {"chunks": ["one ", "two ", "three"], "error": {**error, "after_tokens": 2}})
    said: list[str] = []
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as client:
        stream = await client.chat.completions.create(**ask(prompt, stream=True))
        with pytest.raises(openai.APIError):
            await texts(stream, said)
    assert "".join(said) == "one two "


# What becomes of workers, clients and NATS


async def test_no_worker(fragile: Deployment) -> None:
    """With no worker a call is refused at once, to be sent again."""
    async with httpx.AsyncClient(base_url=(await fragile.gateway()).url) as http:
        for path, body in ((CHAT, ask("Hello.")), ("/v1/embeddings", {"model": "e", "input": "x"})):
            answer = await http.post(path, json=body)
            assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
            assert answer.headers["retry-after"]


async def test_full_workers(fragile: Deployment) -> None:
    """Calls go to workers with room; where there is none, they are refused and may be sent again."""
    url = (await fragile.gateway()).url
    for _ in range(2):
        await fragile.worker(TURNSTREAM_PASS_THROUGH="1")
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        for _ in range(2):
            streams = [await client.chat.completions.create(**ask(SLOW, stream=True)) for _ in range(2)]
            with pytest.raises(openai.InternalServerError) as refused:
                await client.chat.completions.create(**ask("Hello."))
            assert refused.value.status_code == httpx.codes.SERVICE_UNAVAILABLE
            assert refused.value.response.headers["retry-after"]
            for stream in streams:
                await stream.close()

            async def answered() -> bool:
                async with httpx.AsyncClient(base_url=url) as http:
                    return (await http.post(CHAT, json=ask("Hello."))).status_code == httpx.codes.OK

            await until(answered)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_worker_dies(fragile: Deployment, how: signal.Signals) -> None:
    """A worker that dies or falls silent in the middle of a stream is an error in it, within seconds."""
    worker = await fragile.worker()
    url = (await fragile.gateway()).url
    said: list[str] = []
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        stream = await client.chat.completions.create(**ask(SLOW, stream=True))
        assert worker.pid
        os.kill(worker.pid, how)
        async with asyncio.timeout(SOON):
            with pytest.raises(openai.APIError, match="lost"):
                await texts(stream, said)
        await fragile.worker()
        assert (await client.chat.completions.create(**ask("Hello."))).choices


async def test_worker_dies_before_the_first_chunk(fragile: Deployment) -> None:
    """Where nothing has been said yet, and where nothing is streamed, it is a 503."""
    worker = await fragile.worker()
    async with httpx.AsyncClient(base_url=(await fragile.gateway()).url, timeout=SOON) as http:
        prompt = "[stand-in first_delay_ms=60000] Think"
        asked = [asyncio.create_task(http.post(CHAT, json=ask(prompt, stream=stream))) for stream in (False, True)]

        async def both_asked() -> bool:
            return len(await fragile.model_requests("Think")) == 2

        await until(both_asked)
        await worker.kill()
        answers = await asyncio.gather(*asked)
    assert [answer.status_code for answer in answers] == [httpx.codes.SERVICE_UNAVAILABLE] * 2


async def test_worker_stops(fragile: Deployment) -> None:
    """A worker that is told to stop ends the calls that it has, and takes no other."""
    worker = await fragile.worker()
    url = (await fragile.gateway()).url
    said: list[str] = []
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        stream = await client.chat.completions.create(**ask("[stand-in tokens=20 delay_ms=50] Go on.", stream=True))
        stopping = asyncio.create_task(worker.stop())
        await texts(stream, said)
        assert await stopping
        with pytest.raises(openai.InternalServerError):
            await client.chat.completions.create(**ask("Hello."))
    assert len([text for text in said if text]) == 20


@pytest.mark.parametrize(("said", "stream"), [(1, True), (0, True), (0, False)])
async def test_client_leaves(gateway: Gateway, deployment: Deployment, said: int, stream: bool) -> None:
    """A client that leaves takes its call with it: the provider's connection is closed, whatever was said by then."""
    prompt = f"left by its client after {said} {stream}"
    pace = {"delay_ms": 1000} if said else {"first_delay_ms": 60_000}
    await deployment.script(prompt, {"tokens": 100, **pace})
    async with httpx.AsyncClient(base_url=gateway.url, timeout=30) as client:
        asked = asyncio.create_task(_first_chunk(client, ask(prompt, stream=stream)))
        if said:
            await asked
        else:

            async def begun() -> bool:
                return bool(await deployment.model_requests(prompt))

            await until(begun)
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)

    async def noticed() -> bool:
        return await left(deployment, prompt)

    async with asyncio.timeout(1):
        await until(noticed)


async def _first_chunk(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    async with client.stream("POST", CHAT, json=body) as answer:
        async for line in answer.aiter_lines():
            if line:
                return


async def test_slow_reader(deployment: Deployment) -> None:
    """Who does not read holds up nobody else and fills no process's memory, and has it all when it reads at last."""
    gateway = await deployment.gateway()
    worker = next(child for child in deployment.children if child.name.startswith("worker"))
    count = 60_000  # tokens: some 15 MB
    async with httpx.AsyncClient(base_url=gateway.url, timeout=60) as http:
        await http.post(CHAT, json=ask("Hello."))  # what a first call takes is taken by now
        before = [_memory(gateway.child.pid), _memory(worker.pid)]
        async with http.stream("POST", CHAT, json=ask(f"[stand-in tokens={count}] Go on.", stream=True)) as answer:
            for _ in range(100):
                assert (await http.post(CHAT, json=ask("Hello."))).status_code == httpx.codes.OK
            grown = [_memory(gateway.child.pid) - before[0], _memory(worker.pid) - before[1]]
            read = "".join([part async for part in answer.aiter_text()])
    assert max(grown) < 8_000_000, grown
    assert read.count('"delta": {"content": ') == count
    assert read.endswith("data: [DONE]\n\n")


def _memory(pid: int | None) -> int:
    """Return how many bytes of memory a process has."""
    return int(psutil.Process(pid).memory_info().rss)


async def test_nats_dies(fragile: Deployment) -> None:
    """When NATS dies a stream ends with an error within seconds, and calls are taken again once it is back."""
    url = (await fragile.gateway()).url
    await fragile.worker()
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        stream = await client.chat.completions.create(**ask(SLOW, stream=True))
        await fragile.infrastructure.nats.kill()
        try:
            async with asyncio.timeout(SOON):
                with pytest.raises(openai.APIError):
                    await texts(stream, [])
        finally:
            await fragile.infrastructure.nats.start()

        async def answered() -> bool:
            try:
                return bool((await client.chat.completions.create(**ask("Hello."))).choices)
            except openai.InternalServerError:
                return False

        await until(answered)


async def test_keepalive(deployment: Deployment) -> None:
    """While the model thinks, a stream's client gets signs of life, which no client takes for more than that."""
    url = (await deployment.gateway(TURNSTREAM_KEEPALIVE="0.1")).url
    await deployment.script("think in between", {"chunks": ["one ", "two"], "delay_ms": 500, "first_delay_ms": 0})
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        said: list[str] = []
        await texts(await client.chat.completions.create(**ask("think in between", stream=True)), said)
    assert "".join(said) == "one two"
    async with httpx.AsyncClient(base_url=url) as http:
        answer = await http.post(CHAT, json=ask("think in between", stream=True))
    assert answer.text.count(": keepalive\n\n") >= 2
