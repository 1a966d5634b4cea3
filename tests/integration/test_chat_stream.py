"""Reading a provider's stream of chat completions, from a server on loopback that sends what it is told."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from turnstream.errors import ModelError
from turnstream_worker.chat_stream import LINE_LIMIT, Chunk, stream_chat
from turnstream_worker.endpoint import Endpoint

BREAK_OFF = b"<break off>"


class Provider:
    """A model's provider that answers every request with the same pieces."""

    def __init__(self) -> None:
        self.status = 200
        self.answer_headers: dict[str, str] = {}
        self.pieces: list[bytes] = []
        self.asked: list[dict[str, Any]] = []
        self.headers: list[Any] = []
        self.read = asyncio.Event()  # between two pieces: the one before was read
        self.url = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Send the pieces, each once the one before it was read."""
        self.asked.append(await request.json())
        self.headers.append(request.headers)
        response = web.StreamResponse(status=self.status, headers=self.answer_headers)
        await response.prepare(request)
        for piece in self.pieces:
            if piece == BREAK_OFF:
                assert request.transport
                request.transport.abort()
                return response
            await response.write(piece)
            await self.read.wait()
        return response


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    """A provider, which does not wait to be read."""
    made = Provider()
    made.read.set()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", made.answer)
    async with TestServer(app) as server:
        made.url = str(server.make_url("/v1"))
        yield made


async def stream(provider: Provider, patience: float = 5) -> AsyncIterator[list[Chunk]]:
    """Ask the provider, and yield what it sends."""
    waits = aiohttp.ClientTimeout(sock_read=patience)
    async with aiohttp.ClientSession(timeout=waits) as session:
        asked = stream_chat(session, Endpoint(provider.url, {}), {"model": "m"})
        async with aclosing(asked) as answer:  # type: ignore[type-var]
            async for chunks in answer:
                yield chunks


async def chunks(provider: Provider, *pieces: bytes) -> list[Chunk]:
    """Return all chunks of an answer that comes in these pieces."""
    provider.pieces = list(pieces)
    return [chunk async for together in stream(provider) for chunk in together]


async def failure(provider: Provider, *pieces: bytes) -> ModelError:
    """Return the error that an answer in these pieces ends with."""
    with pytest.raises(ModelError) as failed:
        await chunks(provider, *pieces)
    return failed.value


def delta(text: str) -> Chunk:
    """Make a chunk of text."""
    return {"choices": [{"index": 0, "delta": {"content": text}}]}


def event(chunk: Any, end: bytes = b"\n\n") -> bytes:
    """Make the bytes of a chunk."""
    return b"data: " + orjson.dumps(chunk) + end


FINISH: Chunk = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
DONE = b"data: [DONE]\n\n"
WHOLE = event(delta("hé")) + event(delta("llo")) + event(FINISH) + DONE
EXPECTED = [delta("hé"), delta("llo"), FINISH]


async def test_whole_answer(provider: Provider) -> None:
    """An answer's chunks come in order, and what arrived together comes together."""
    provider.pieces = [WHOLE]
    assert [together async for together in stream(provider)] == [EXPECTED]


async def test_first_chunk_does_not_wait_for_the_second(provider: Provider) -> None:
    """A chunk is handed on when it arrives, while the provider still thinks about the next one."""
    provider.read.clear()
    provider.pieces = [event(delta("a")), event(FINISH)]
    seen = []
    async with asyncio.timeout(5):
        async for together in stream(provider):
            seen.append(together)
            provider.read.set()
    assert seen == [[delta("a")], [FINISH]]


def splits() -> Iterator[tuple[bytes, ...]]:
    """Yield an answer split at each byte of its first events, and into single bytes."""
    for place in range(1, len(event(delta("hé"))) + 2):
        yield WHOLE[:place], WHOLE[place:]
    yield tuple(WHOLE[place : place + 1] for place in range(len(WHOLE)))


async def test_split_lines(provider: Provider) -> None:
    """An answer reads the same wherever the network cuts it, within a character too."""
    for pieces in splits():
        assert await chunks(provider, *pieces) == EXPECTED


@pytest.mark.parametrize(
    "noise",
    [
        WHOLE.replace(b"\n", b"\r\n"),
        WHOLE.replace(b"data: ", b"data:"),
        WHOLE.replace(b"data: ", b": keep-alive\n\nevent: chunk\nid: 1\ndata: "),
        b"\n\n" + WHOLE,
    ],
)
async def test_other_forms_of_the_same(provider: Provider, noise: bytes) -> None:
    """Line breaks of two bytes, comments, names, blank lines and missing blanks change nothing."""
    assert await chunks(provider, noise) == EXPECTED


@pytest.mark.parametrize("end", [event(FINISH), DONE, event(FINISH) + DONE, event(FINISH) + event({"usage": {}})])
async def test_finished(provider: Provider, end: bytes) -> None:
    """An answer is whole once it gives a reason for its finish or says that it is done."""
    assert (await chunks(provider, event(delta("a")) + end))[0] == delta("a")


@pytest.mark.parametrize("start", [b"", event(delta("a")), event(delta("a")) + event({"usage": {}}), DONE[:-3]])
async def test_ends_without_finish(provider: Provider, start: bytes) -> None:
    """An answer that ends in order, but without a finish, was broken off."""
    assert "broke off" in (await failure(provider, start)).message


@pytest.mark.parametrize("start", [b": x\n", event(delta("a")), event(delta("a"), b"")])
async def test_connection_breaks(provider: Provider, start: bytes) -> None:
    """A connection that breaks is the provider's failure, whatever was heard before."""
    failed = await failure(provider, start, BREAK_OFF)
    assert (failed.code, failed.message) == ("server_error", "The connection to the model's provider failed.")


async def test_nobody_listens(provider: Provider, unused_tcp_port: int) -> None:
    """A provider that is not there is its failure, and may be there the next time."""
    provider.url = f"http://127.0.0.1:{unused_tcp_port}/v1"
    failed = await failure(provider)
    assert failed.message == "The connection to the model's provider failed."
    assert (failed.status, failed.retry_after) == (502, 0)


@pytest.mark.parametrize(
    "pieces",
    [
        [BREAK_OFF],
        [b""],
        [event({"error": {"message": "Overloaded.", "code": 503}})],
    ],
)
async def test_another_try_before_the_first_chunk(provider: Provider, pieces: list[bytes]) -> None:
    """Whatever breaks before a chunk was handed on may be tried again; behind one nothing may."""
    assert (await failure(provider, *pieces)).retry_after == 0
    assert (await failure(provider, event(delta("a")), *pieces)).retry_after is None


async def test_another_try_when_the_provider_says(provider: Provider) -> None:
    """A refusal says when to try again, if the provider does."""
    provider.status = 429
    provider.answer_headers = {"retry-after": "3"}
    assert (await failure(provider)).retry_after == 3


async def test_silence(provider: Provider) -> None:
    """A provider that is silent for too long has not answered in time."""
    provider.read.clear()
    provider.pieces = [event(delta("a"))]
    with pytest.raises(ModelError, match="in time"):
        async for _ in stream(provider, patience=0.05):
            pass
    provider.read.set()


@pytest.mark.parametrize("line", [b"data: {", b"data: not json", b"data:", b'data: "\xff"', b'data: "\\ud800"'])
async def test_not_json(provider: Provider, line: bytes) -> None:
    """What is not JSON is the provider's failure, in mid-stream too."""
    assert "not JSON" in (await failure(provider, event(delta("a")) + line + b"\n\n" + DONE)).message


@pytest.mark.parametrize("value", [[], "text", 5, None])
async def test_not_a_chunk(provider: Provider, value: Any) -> None:
    """JSON that is no object is the provider's failure."""
    assert "not a chat completion" in (await failure(provider, event(value))).message


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        ({"message": "Overloaded.", "code": "overloaded"}, "overloaded", "Overloaded."),
        ({"message": "Overloaded.", "code": 503}, "server_error", "Overloaded."),
        ({"message": None}, "server_error", "The model's provider failed."),
        ("Overloaded.", "server_error", "The model's provider failed."),
    ],
)
async def test_error_in_mid_stream(provider: Provider, error: Any, code: str, message: str) -> None:
    """An error that comes as an event ends the answer, in the provider's words as far as it has any."""
    failed = await failure(provider, event(delta("a")) + event({"error": error}) + DONE)
    assert (failed.code, failed.message) == (code, message)


def refused(message: Any, code: Any = None) -> bytes:
    """Make the body of a refusal."""
    return orjson.dumps({"error": {"message": message, "code": code}})


NO_WORDS = "The model's provider failed."
STATUS = "The model's provider answered with status {}."


@pytest.mark.parametrize(
    ("status", "body", "code", "message"),
    [
        (400, refused("Too long.", "context_length_exceeded"), "context_length_exceeded", "Too long."),
        (400, refused("Bad."), "invalid_prompt", "Bad."),
        (404, b'{"detail": "no such model"}', "invalid_prompt", NO_WORDS),
        (422, b"<html>", "invalid_prompt", NO_WORDS),
        (422, b"[]", "invalid_prompt", NO_WORDS),
        (422, b'{"error": "No."}', "invalid_prompt", "No."),
        (401, refused("The key sk-1 is wrong."), "server_error", STATUS.format(401)),
        (403, b"", "server_error", STATUS.format(403)),
        (429, b"", "rate_limit_exceeded", "The model's provider is limiting the rate of requests."),
        (500, refused("A stack trace."), "server_error", STATUS.format(500)),
        (204, b"", "server_error", STATUS.format(204)),
    ],
)
async def test_refused(provider: Provider, status: int, body: bytes, code: str, message: str) -> None:
    """A refusal shows the provider's words where they are about the request, and never where they are about our key."""
    provider.status = status
    failed = await failure(provider, *([body] if body else []))
    assert (failed.code, failed.message) == (code, message)


async def test_too_large_line(provider: Provider) -> None:
    """A line without an end is given up, and not kept for ever."""
    piece = b"x" * (LINE_LIMIT // 8)
    assert "too large" in (await failure(provider, b"data: ", *([piece] * 9))).message


async def test_large_line(provider: Provider) -> None:
    """A line that is only large is read."""
    large = delta("x" * (LINE_LIMIT // 2))
    assert await chunks(provider, event(large), event(FINISH)) == [large, FINISH]


async def test_what_is_asked(provider: Provider) -> None:
    """The request goes out as a stream with its usage, over the provider's defaults and with its credentials."""
    provider.pieces = [WHOLE]
    async with aiohttp.ClientSession() as session:
        endpoint = Endpoint(f"{provider.url}/", {"authorization": "Bearer x"}, {"model": "default", "seed": 1})
        async for _ in stream_chat(session, endpoint, {"model": "m", "messages": []}):
            pass
    assert provider.asked == [
        {"model": "m", "messages": [], "seed": 1, "stream": True, "stream_options": {"include_usage": True}}
    ]
    assert provider.headers[0]["authorization"] == "Bearer x"
    assert "Bearer" not in repr(endpoint)
