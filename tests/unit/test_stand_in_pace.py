"""When the stand-in model says each token, and when it stops."""

import asyncio
import json
from collections.abc import Awaitable, MutableMapping
from typing import Any
from unittest.mock import AsyncMock

import pytest
from support.stand_in import user

from turnstream_local.stand_in.answers import Defaults, answer
from turnstream_local.stand_in.app import StandIn
from turnstream_local.stand_in.chat_request import parse_chat_request
from turnstream_local.stand_in.pacer import Pacer
from turnstream_local.stand_in.script import Reply
from turnstream_local.stand_in.speech import Speech


class RecordingPacer(Pacer):
    """Keeps the times that were waited for, and lets everybody pass."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def now(self) -> float:
        """Stand still."""
        return 100.0

    def at(self, time: float) -> Awaitable[None]:
        """Keep the time."""
        self.times.append(time)
        return asyncio.sleep(0)


async def test_delays_do_not_add_up() -> None:
    """Each token's time counts from the start of the stream, the first one's delay from the request."""
    request = parse_chat_request({"model": "stand-in", "messages": [user("Hi")], "stream": True})
    reply = Reply(tokens=4, delay_ms=30, first_delay_ms=500)
    pacer = RecordingPacer()
    await Speech(request, answer(request, reply, Defaults()), pacer, AsyncMock(), None).run()
    assert pacer.times == pytest.approx([100.5, 100.53, 100.56, 100.59])


async def test_answer_stops_when_the_client_leaves() -> None:
    """Not one token is sent after the client has left."""
    left, third_sent, sent = asyncio.Event(), asyncio.Event(), list[bytes]()
    body = {"model": "stand-in", "messages": [user("[stand-in tokens=1000] Hi")], "stream": True}
    asked = iter([{"type": "http.request", "body": json.dumps(body).encode()}])

    async def receive() -> dict[str, Any]:
        if message := next(asked, None):
            return message
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message.get("body", b""))
        if len(sent) == 3:
            third_sent.set()
            await asyncio.get_running_loop().create_future()

    scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions"}
    serving = asyncio.ensure_future(StandIn()(scope, receive, send))
    await asyncio.wait_for(third_sent.wait(), 5)
    left.set()
    await asyncio.wait_for(serving, 5)
    assert len(sent) == 3


async def test_paced_waits_end_in_the_order_of_their_times() -> None:
    """Whoever is due earlier is woken earlier, and a time that has passed is due at once."""
    pacer, woken = Pacer(), list[str]()

    async def wait(name: str, seconds: float) -> None:
        await pacer.at(pacer.now() + seconds)
        woken.append(name)

    await asyncio.gather(wait("late", 0.02), wait("early", 0.005), wait("past", -1))
    assert woken == ["past", "early", "late"]


async def test_cancelled_wait_wakes_no_one_wrongly() -> None:
    """A wait that was given up does not disturb the other of the same millisecond."""
    pacer = Pacer()
    time = pacer.now() + 0.005
    given_up, kept = asyncio.ensure_future(pacer.at(time)), asyncio.ensure_future(pacer.at(time))
    given_up.cancel()
    await asyncio.wait_for(kept, 5)
