"""A worker dies in the middle of a turn that calls tools: it goes on behind its last step, and repeats nothing."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from support.deployment import Deployment
from support.event_order import disorder
from support.reader import NOTHING, Transcript, read_to_end, start, tally
from support.tool_turns import ALLOWED, ToolServer, calling, saying

SOON = 30  # seconds


async def until(condition: Callable[[], Awaitable[object]]) -> None:
    """Wait until something holds in another process."""
    async with asyncio.timeout(SOON):
        while not await condition():  # noqa: ASYNC110 - another process makes it hold
            await asyncio.sleep(0.02)


async def broken_off(fragile: Deployment, shop: ToolServer, text: str, *replies: Any, **tool: Any) -> Transcript:
    """Run a turn whose worker is killed while its last charge is under way, and read it to its end."""
    await fragile.script(text, *replies)
    url = (await fragile.gateway()).url
    doomed = await fragile.worker(**ALLOWED)
    transcript = Transcript()
    charges = sum(bool(call["name"] == "charge") for reply in replies for call in reply.get("tool_calls", ()))

    async def read() -> None:
        async for _ in start(url, transcript, input=text, tools=[shop.tool(**tool)]):
            pass

    async def charging() -> bool:
        return len([call for call in await shop.calls() if call["tool"] == "charge"]) == charges

    await shop.delay(3)
    async with asyncio.timeout(SOON), asyncio.TaskGroup() as running:
        running.create_task(read())
        await until(charging)
        await doomed.kill()
        await shop.delay(0)
        await fragile.worker(**ALLOWED)
    assert tally([transcript]) == NOTHING
    assert disorder(transcript.events) == []
    return transcript


def outputs(transcript: Transcript) -> list[Any]:
    """Return what each of a turn's tools returned, or the error."""
    items = [item for item in transcript.response["output"] if item["type"] == "mcp_call"]
    return [item["output"] or item["error"] for item in items]


async def test_finished_steps_stay(fragile: Deployment) -> None:
    """What was finished before the worker died is not asked and not run again; what was under way, as its tool says."""
    shop = await ToolServer.start(fragile)
    replies = [calling("add", a=1, b=1), calling("charge", order="a"), saying("Done.")]
    ended = await broken_off(fragile, shop, "go on behind", *replies, on_uncertain="retry")
    assert ended.response["status"] == "completed"
    assert outputs(ended) == ["2", "charged a"]
    assert len(await fragile.model_requests("go on behind")) == len(replies)
    added, *charged = await shop.calls(ended)
    assert added["tool"] == "add"
    # Run again, since that was asked for, and told to the tool as the same call.
    assert [call["tool"] for call in charged] == ["charge", "charge"]
    assert len({call["key"] for call in charged}) == 1


async def test_unknown_outcome_is_told(fragile: Deployment) -> None:
    """A call of a tool that says nothing of itself is never repeated: the model is told that its outcome is unknown."""
    shop = await ToolServer.start(fragile)
    ended = await broken_off(fragile, shop, "charge once", calling("charge", order="b"), saying("I do not know."))
    assert ended.response["status"] == "completed"
    [error] = outputs(ended)
    assert "not known" in error
    assert len(await shop.calls(ended)) == 1
    *_, told = await fragile.model_requests("charge once")
    assert [message["content"] for message in told["messages"] if message["role"] == "tool"] == [error]


async def test_crash_between_calls_that_run_together(fragile: Deployment) -> None:
    """Of calls that were made together, one that had ended stays, and the others are each what its tool says."""
    shop = await ToolServer.start(fragile)
    asked = [("add", {"a": 1, "b": 1}), ("slow", {"seconds": 2}), ("charge", {"order": "d"})]
    together = {"tool_calls": [{"name": name, "arguments": arguments} for name, arguments in asked]}
    await fragile.script("all at once", together, saying("Done."))
    url = (await fragile.gateway()).url
    doomed = await fragile.worker(**ALLOWED)
    transcript, added = Transcript(), asyncio.Event()

    async def read() -> None:
        async for event in start(url, transcript, input="all at once", tools=[shop.tool()]):
            if event["type"] == "response.output_item.done" and event["item"]["type"] == "mcp_call":
                added.set()

    async def all_begun() -> bool:
        return len(await shop.calls()) == len(asked)

    await shop.delay(3)
    async with asyncio.timeout(SOON), asyncio.TaskGroup() as running:
        running.create_task(read())
        await added.wait()
        await until(all_begun)
        await doomed.kill()
        await fragile.worker(**ALLOWED)
    assert tally([transcript]) == NOTHING
    assert disorder(transcript.events) == []
    sum_of_both, waited, charged = outputs(transcript)
    assert (sum_of_both, waited) == ("2", "waited 2 seconds")
    assert "not known" in charged
    calls = await shop.calls(transcript)
    assert sorted(call["tool"] for call in calls) == ["add", "charge", "slow", "slow"]
    assert len({call["key"] for call in calls if call["tool"] == "slow"}) == 1
    assert len({call["key"] for call in calls}) == len(asked)
    assert len(await fragile.model_requests("all at once")) == 2


async def test_person_is_asked(fragile: Deployment) -> None:
    """Where the client wants it, a person decides whether a call is run again, however late."""
    shop = await ToolServer.start(fragile)
    text = "ask before again"
    asked = await broken_off(fragile, shop, text, calling("charge", order="c"), saying("Done."), on_uncertain="ask")
    *_, uncertain, request = asked.response["output"]
    assert (uncertain["status"], request["type"]) == ("failed", "mcp_approval_request")
    assert len(await shop.calls(asked)) == 1
    approval = {"type": "mcp_approval_response", "approval_request_id": request["id"], "approve": True}
    body = {"model": "stand-in", "input": [approval], "previous_response_id": asked.id, "tools": [shop.tool()]}
    async with httpx.AsyncClient(base_url=(await fragile.gateway()).url, timeout=SOON) as client:
        answers = [(await client.post("/v1/responses", json=body)).json() for _ in range(2)]
    for answered in answers:
        assert [item["type"] for item in answered["output"]] == ["mcp_call", "message"]
        assert answered["output"][0]["output"] == "charged c"
    assert len(await shop.calls()) == 2  # what was asked about, and once again although it was allowed twice


@pytest.mark.parametrize("grace", ["5", "0.1"])
async def test_handed_over_between_steps(fragile: Deployment, grace: str) -> None:
    """A worker that is told to stop gives a turn over at the end of its step, and nothing of it is done twice."""
    shop = await ToolServer.start(fragile)
    text = f"handed over {grace}"
    await fragile.script(text, calling("slow", seconds=0.5), calling("slow", seconds=0.6), saying("Done."))
    url = (await fragile.gateway()).url
    leaving = await fragile.worker(**ALLOWED, TURNSTREAM_GRACE=grace, TURNSTREAM_MAX_ATTEMPTS="1")
    transcript = Transcript()

    async def read() -> None:
        async for _ in start(url, transcript, input=text, tools=[shop.tool()]):
            pass
        await read_to_end(url, transcript)

    async def at_work() -> bool:
        return bool(await shop.calls())

    async with asyncio.timeout(SOON), asyncio.TaskGroup() as running:
        running.create_task(read())
        await until(at_work)
        stopping = running.create_task(leaving.stop())
        await fragile.worker(**ALLOWED, TURNSTREAM_MAX_ATTEMPTS="1")
        await stopping
    assert tally([transcript]) == NOTHING
    assert disorder(transcript.events) == []
    assert outputs(transcript) == ["waited 0.5 seconds", "waited 0.6 seconds"]
    assert "turn.ended" not in leaving.log.tail()  # another worker has brought it to its end
    executed = [call["arguments"]["seconds"] for call in await shop.calls(transcript)]
    assert executed in ([0.5, 0.6], [0.5, 0.5, 0.6])  # a step that was broken off by the grace's end is run again
    assert (len(executed) == 2) or grace == "0.1"
