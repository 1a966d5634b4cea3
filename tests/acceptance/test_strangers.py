"""What a connection may take of a gateway before anybody is asked for a key."""

import asyncio
import json
from urllib.parse import urlsplit

import httpx
import pytest
from support.deployment import Deployment, Gateway
from support.reader import NOTHING, Transcript, start, tally

PATIENCE = 0.3  # seconds that the gateway gives a request
DEADLINE = 10  # seconds until it must have hung up
TOO_MUCH = 70_000  # bytes of what is not a body
HEAD = b"POST /v1/responses HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"


@pytest.fixture(scope="session")
async def impatient(deployment: Deployment) -> Gateway:
    """A gateway that waits for nobody."""
    return await deployment.gateway(TURNSTREAM_REQUEST_TIMEOUT=str(PATIENCE))


async def answer_to(gateway: Gateway, sent: bytes, drip: bytes = b"") -> bytes:
    """Send some bytes, and others again and again, and return all that is answered until the gateway hangs up."""
    address = urlsplit(gateway.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    reading = asyncio.create_task(reader.read())
    writer.write(sent)
    async with asyncio.timeout(DEADLINE):
        while drip and not reading.done():
            writer.write(drip)
            await asyncio.wait({reading}, timeout=PATIENCE / 20)
        answer = await reading
    writer.close()
    return answer


def read_refusal(answer: bytes) -> tuple[int, str]:
    """Return the status and the code of an answer in OpenAI's shape, which says that the connection ends."""
    head, _, body = answer.partition(b"\r\n\r\n")
    fields = head.lower().split(b"\r\n")[1:]
    assert {b"connection: close", b"content-type: application/json", b"content-length: %d" % len(body)} <= {*fields}
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "code", "param"}
    return int(head.split()[1]), error["code"]


@pytest.mark.parametrize(
    "sent",
    [b"GARBAGE\r\n\r\n", b"\x16\x03\x01\x02\x00", b"GET / HTTP/1.1\r\n: x\r\n\r\n", CHUNKED + b"no number\r\n"],
    ids=["words", "TLS", "header", "chunk"],
)
async def test_not_http(gateway: Gateway, sent: bytes) -> None:
    """What is not HTTP is a 400 that clients can read."""
    assert read_refusal(await answer_to(gateway, sent)) == (400, "bad_request")


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /v1/" + b"x" * TOO_MUCH,
        HEAD + b"x: " + b"x" * TOO_MUCH,
        HEAD + b"x: x\r\n" * (TOO_MUCH // 6),
        CHUNKED + b"1;" + b"x" * TOO_MUCH,
        CHUNKED + b"1\r\n{\r\n0\r\nx: " + b"x" * TOO_MUCH,
    ],
    ids=["path", "long header", "many headers", "chunk", "trailer"],
)
async def test_endless_headers(gateway: Gateway, sent: bytes) -> None:
    """What is not a body has its limit too, wherever in a request it stands."""
    assert read_refusal(await answer_to(gateway, sent)) == (431, "request_header_fields_too_large")


@pytest.mark.parametrize(
    ("sent", "drip"),
    [
        (HEAD, b""),
        (HEAD, b"x: x\r\n"),
        (b"", b"\r\n"),
        (HEAD + b"content-length: 1000\r\n\r\n", b""),
        (HEAD + b"content-length: 1000\r\n\r\n", b" "),
        (CHUNKED, b"1\r\n \r\n"),
    ],
    ids=["headers", "slow headers", "empty lines", "body", "slow body", "slow chunks"],
)
async def test_slow_request(impatient: Gateway, sent: bytes, drip: bytes) -> None:
    """A request that does not come to its end in time is a 408, however busily it is sent."""
    assert read_refusal(await answer_to(impatient, sent, drip)) == (408, "request_timeout")


async def test_silence(impatient: Gateway) -> None:
    """A connection that nothing is sent on is closed without a word."""
    assert await answer_to(impatient, b"") == b""


async def test_refused_before_the_end(impatient: Gateway) -> None:
    """A request that was refused before its end gets that one answer, and is not waited for any longer."""
    answer = await answer_to(impatient, HEAD + b"content-length: 100000000\r\n\r\n", b" ")
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert answer.count(b"HTTP/1.1 ") == 1


async def test_a_stray_line_end(impatient: Gateway) -> None:
    """What comes behind a request does not cost it its answer."""
    body = b'{"model": "stand-in", "input": "[stand-in tokens=20 delay_ms=40] Go on.", "stream": true}'
    answer = await answer_to(impatient, HEAD + b"content-length: %d\r\n\r\n%b" % (len(body), body), b"\r\n")
    assert b"event: response.completed\n" in answer
    assert answer.count(b"HTTP/1.1 ") == 1


async def test_a_long_answer(impatient: Gateway) -> None:
    """The time that a request has says nothing about its answer, nor about the next one on the connection."""
    transcript = Transcript()
    async for _ in start(impatient.url, transcript, input="[stand-in tokens=20 delay_ms=40] Go on."):
        pass
    assert tally([transcript]) == NOTHING
    async with httpx.AsyncClient(base_url=impatient.url) as http:
        for _ in range(3):
            body = {"model": "stand-in", "input": "[stand-in tokens=10 delay_ms=50] Go on."}
            assert (await http.post("/v1/responses", json=body)).json()["status"] == "completed"
