"""The turns of a conversation run one at a time, and a new one may say what becomes of those before it."""

import asyncio
from typing import Any

import httpx
import pytest
from support.deployment import Deployment, Gateway
from support.event_order import disorder
from support.reader import NOTHING, Transcript, read_to_end, start, tally

SLOWLY = "[stand-in tokens=60 delay_ms=25] go on"


async def a_conversation(gateway: Gateway) -> str:
    """Make a conversation."""
    async with httpx.AsyncClient(base_url=gateway.url) as client:
        return str((await client.post("/v1/conversations", json={})).json()["id"])


async def contents(gateway: Gateway, conversation: str) -> list[str]:
    """Return the texts of a conversation's messages, oldest first."""
    async with httpx.AsyncClient(base_url=gateway.url) as client:
        listed = await client.get(f"/v1/conversations/{conversation}/items", params={"order": "asc", "limit": 100})
        return [item["content"][0]["text"] for item in listed.json()["data"]]


async def begun(gateway: Gateway, conversation: str, text: str = SLOWLY) -> tuple[Transcript, asyncio.Task[None]]:
    """Start a slow turn in a conversation; return once it says something."""
    transcript, speaking = Transcript(), asyncio.Event()

    async def read() -> None:
        async for event in start(gateway.url, transcript, input=text, conversation=conversation):
            if event["type"] == "response.output_text.delta":
                speaking.set()

    reading = asyncio.create_task(read())
    await speaking.wait()
    return transcript, reading


async def post(gateway: Gateway, conversation: str, text: str, **body: Any) -> httpx.Response:
    """Run a turn in a conversation."""
    asked = {"model": "stand-in", "input": text, "conversation": conversation, **body}
    async with httpx.AsyncClient(base_url=gateway.url, timeout=30) as client:
        return await client.post("/v1/responses", json=asked)


async def test_in_order(gateway: Gateway) -> None:
    """Turns that are accepted while another runs wait for it, each for the one before it, and read what those said."""
    conversation = await a_conversation(gateway)
    _, reading = await begun(gateway, conversation)
    waiting = [await post(gateway, conversation, f"question {number}", background=True) for number in range(4)]
    transcripts = [Transcript() for _ in waiting]
    ids = [answer.json()["id"] for answer in waiting]
    await asyncio.gather(*map(read_to_end, [gateway.url] * len(ids), transcripts, ids))
    await reading
    assert tally(transcripts) == NOTHING
    said = await contents(gateway, conversation)
    assert said[::2] == [SLOWLY, *(f"question {number}" for number in range(4))]


async def test_reject(gateway: Gateway) -> None:
    """A turn that will not wait is refused while another runs, for good, and nothing of it is kept."""
    conversation = await a_conversation(gateway)
    _, reading = await begun(gateway, conversation)
    refused = await post(gateway, conversation, "not now", on_busy="reject")
    assert refused.status_code == httpx.codes.CONFLICT
    assert refused.headers["x-should-retry"] == "false"
    assert refused.json()["error"]["code"] == "conversation_busy"
    await reading
    assert "not now" not in await contents(gateway, conversation)
    accepted = await post(gateway, conversation, "now", on_busy="reject")
    assert accepted.json()["status"] == "completed"


@pytest.mark.parametrize("on_busy", ["interrupt", "rollback"])
async def test_making_way(gateway: Gateway, on_busy: str) -> None:
    """A turn may end the one before it: its client sees it cancelled, and the conversation keeps it or not."""
    conversation = await a_conversation(gateway)
    interrupted, reading = await begun(gateway, conversation)
    answered = await post(gateway, conversation, "instead", on_busy=on_busy)
    await reading
    assert answered.json()["status"] == "completed"
    assert interrupted.response["status"] == "cancelled"
    assert tally([interrupted]) == NOTHING
    assert disorder(interrupted.events) == []
    said = await contents(gateway, conversation)
    assert said[:-2] == ([SLOWLY] if on_busy == "interrupt" else [])
    assert said[-2] == "instead"


async def test_cancelled_while_it_waits(gateway: Gateway) -> None:
    """A turn that waits for another can be cancelled at once, and its reader sees its end."""
    conversation = await a_conversation(gateway)
    _, reading = await begun(gateway, conversation)
    waiting = await post(gateway, conversation, "later", background=True)
    async with httpx.AsyncClient(base_url=gateway.url) as client:
        await client.post(f"/v1/responses/{waiting.json()['id']}/cancel")
    transcript = Transcript()
    await read_to_end(gateway.url, transcript, waiting.json()["id"])
    assert transcript.response["status"] == "cancelled"
    assert not reading.done()
    await reading
    assert "later" not in await contents(gateway, conversation)


async def test_conversation_is_deleted(gateway: Gateway) -> None:
    """The turns that wait in a conversation that is deleted fail, and say why."""
    conversation = await a_conversation(gateway)
    _, reading = await begun(gateway, conversation)
    waiting = (await post(gateway, conversation, "later", background=True)).json()["id"]
    async with httpx.AsyncClient(base_url=gateway.url) as client:
        await client.delete(f"/v1/conversations/{conversation}")
    transcript = Transcript()
    await read_to_end(gateway.url, transcript, waiting)
    assert transcript.response["error"]["code"] == "conversation_not_found"
    await reading


async def test_forks(gateway: Gateway) -> None:
    """Any response that is kept can be followed, as often as one likes, also at once."""
    async with httpx.AsyncClient(base_url=gateway.url, timeout=30) as client:
        first = (await client.post("/v1/responses", json={"model": "stand-in", "input": "root"})).json()
        body = {"model": "stand-in", "previous_response_id": first["id"]}
        branches = await asyncio.gather(
            *(client.post("/v1/responses", json={**body, "input": f"branch {n}"}) for n in range(3))
        )
    assert [answer.json()["status"] for answer in branches] == ["completed"] * 3


async def test_forks_of_what_was_deleted(gateway: Gateway) -> None:
    """A turn fails, and says why, that goes on from a response whose conversation or predecessor was deleted."""
    conversation = await a_conversation(gateway)
    async with httpx.AsyncClient(base_url=gateway.url, timeout=30) as client:

        async def follow(previous: str) -> dict[str, Any]:
            body = {"model": "stand-in", "input": "go on", "previous_response_id": previous}
            answered: dict[str, Any] = (await client.post("/v1/responses", json=body)).json()
            return answered

        inside = (await post(gateway, conversation, "root")).json()["id"]
        outside = (await client.post("/v1/responses", json={"model": "stand-in", "input": "root"})).json()["id"]
        behind = (await follow(outside))["id"]
        await client.delete(f"/v1/conversations/{conversation}")
        await client.delete(f"/v1/responses/{outside}")
        failed = [await follow(inside), await follow(behind)]
    assert [one["status"] for one in failed] == ["failed", "failed"]
    codes = [one["error"]["code"] for one in failed]
    assert codes == ["conversation_not_found", "previous_response_not_found"]


async def test_deadline_while_it_waits(gateway: Gateway) -> None:
    """A turn whose time is over while it waits for another is incomplete then; the others go on in their order."""
    conversation = await a_conversation(gateway)
    running, reading = await begun(gateway, conversation, "[stand-in tokens=400 delay_ms=25] go on")
    waiting = asyncio.create_task(post(gateway, conversation, "in a second", deadline=1))
    last = (await post(gateway, conversation, "at last", background=True)).json()["id"]
    answered = (await waiting).json()
    assert (answered["status"], answered["incomplete_details"]) == ("incomplete", {"reason": "deadline"})
    assert not reading.done()
    async with httpx.AsyncClient(base_url=gateway.url) as client:
        assert (await client.get(f"/v1/responses/{last}")).json()["status"] == "queued"
        await client.post(f"/v1/responses/{running.id}/cancel")
    await reading
    transcripts = [Transcript(), Transcript()]
    await asyncio.gather(*map(read_to_end, [gateway.url] * 2, transcripts, [answered["id"], last]))
    assert tally(transcripts) == NOTHING
    assert [disorder(transcript.events) for transcript in transcripts] == [[], []]
    assert (await contents(gateway, conversation))[0] == "at last"


async def test_deadline_while_workers_are_full(fragile: Deployment) -> None:
    """A turn whose time is over before a worker has room for it is incomplete then, and nothing of it was asked."""
    gateway = await fragile.gateway()
    await fragile.worker(TURNSTREAM_CONCURRENCY="1")
    _, reading = await begun(gateway, await a_conversation(gateway), "[stand-in tokens=250 delay_ms=25] go on")
    answered = (await post(gateway, await a_conversation(gateway), "in a second", deadline=1)).json()
    assert (answered["status"], answered["incomplete_details"]) == ("incomplete", {"reason": "deadline"})
    assert not reading.done()
    assert await fragile.model_requests("in a second") == []
    await reading
