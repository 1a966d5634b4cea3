"""A provider that closes its connections between two requests, as servers do after a while, or after each answer."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
import orjson
import pytest

from turnstream_worker.chat_stream import stream_chat
from turnstream_worker.endpoint import Endpoint

FINISH = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
EVENTS = b"data: " + orjson.dumps(FINISH) + b"\n\ndata: [DONE]\n\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n%s" % (len(EVENTS), EVENTS)


@dataclass
class Provider:
    """A server that answers the first request of a connection, and hangs up at the second."""

    url: str = ""
    connections: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection."""
        self.connections += 1
        await read_request(reader)
        writer.write(ANSWER)
        await read_request(reader)
        writer.close()


async def read_request(reader: asyncio.StreamReader) -> None:
    """Read a request; nothing if there is none."""
    head = await reader.read(1)
    if head:
        head += await reader.readuntil(b"\r\n\r\n")
        [length] = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        await reader.readexactly(int(length.split(b":")[1]))


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    """Run it on loopback."""
    made = Provider()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    yield made
    server.close()


async def test_hung_up_between_two_requests(provider: Provider) -> None:
    """A request that meets a connection which the provider has given up goes out again on another."""
    async with aiohttp.ClientSession() as session:
        for _ in range(3):
            asked = stream_chat(session, Endpoint(provider.url, {}), {"model": "m", "messages": []})
            assert [chunk async for together in asked for chunk in together] == [FINISH]
    assert provider.connections == 3
