"""A turn calls tools that Turnstream runs, as often as the model wants, and goes on with what they return."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from support.deployment import Deployment, Gateway, deployed
from support.event_order import disorder
from support.infrastructure import embedded
from support.reader import NOTHING, Transcript, read_to_end, start, tally
from support.tool_turns import ALLOWED, ToolServer, calling, saying

from turnstream_worker.settings import WorkerSettings
from turnstream_worker.tool_runs import NO_ROOM

MAX_JOURNAL = WorkerSettings.model_fields["max_journal"].default  # bytes
FUNCTION = {"type": "function", "name": "ask_user", "parameters": {"type": "object", "properties": {}}}


@pytest.fixture(scope="module")
async def site() -> AsyncIterator[tuple[Deployment, Gateway, ToolServer]]:
    """A deployment with an MCP server that its one worker may call."""
    async with embedded() as infrastructure, deployed(infrastructure) as running:
        await running.worker(**ALLOWED)
        yield running, await running.gateway(), await ToolServer.start(running)


type Site = tuple[Deployment, Gateway, ToolServer]


async def run(site: Site, text: str, *replies: dict[str, Any], **body: Any) -> Transcript:
    """Run a turn to its end, in which the model answers so."""
    deployment, gateway, shop = site
    await deployment.script(text, *replies)
    transcript = Transcript()
    async for _ in start(gateway.url, transcript, input=text, **{"tools": [shop.tool()], **body}):
        pass
    assert tally([transcript]) == NOTHING
    assert disorder(transcript.events) == []
    return transcript


def kinds(transcript: Transcript) -> list[str]:
    """Return the types of a turn's items."""
    return [item["type"] for item in transcript.response["output"]]


async def post(gateway: Gateway, **body: Any) -> dict[str, Any]:
    """Run a turn and return its response."""
    async with httpx.AsyncClient(base_url=gateway.url, timeout=30) as client:
        answer = await client.post("/v1/responses", json={"model": "stand-in", **body})
        response: dict[str, Any] = answer.json()
        assert answer.status_code == httpx.codes.OK, response
        return response


async def test_several_steps(site: Site) -> None:
    """The model calls one tool after another, sees what each returned, and answers; each call is run once."""
    replies = [calling("add", a=1, b=2), calling("add", a=3, b=4), saying("It is 7.")]
    ended = await run(site, "add up", *replies)
    assert kinds(ended) == ["mcp_list_tools", "mcp_call", "mcp_call", "message"]
    _, first, second, answer = ended.response["output"]
    assert (first["output"], second["output"], answer["content"][0]["text"]) == ("3", "7", "It is 7.")
    assert first["status"] == second["status"] == "completed"
    calls = await site[2].calls(ended)
    assert [call["arguments"] for call in calls] == [{"a": 1, "b": 2}, {"a": 3, "b": 4}]
    assert len({call["key"] for call in calls}) == 2
    *_, last = await site[0].model_requests("add up")
    assert [message["content"] for message in last["messages"] if message["role"] == "tool"] == ["3", "7"]


async def test_calls_at_once(site: Site) -> None:
    """Calls that the model makes together are run together, and stand in the order in which it made them."""
    await site[2].delay(0.5)
    together = {"tool_calls": [{"name": "charge", "arguments": {"order": f"o{n}"}} for n in range(4)]}
    loop = asyncio.get_running_loop()
    began = loop.time()
    ended = await run(site, "charge all", together, saying("Done."))
    assert loop.time() - began < 4 * 0.5
    outputs = [item["output"] for item in ended.response["output"] if item["type"] == "mcp_call"]
    assert outputs == [f"charged o{n}" for n in range(4)]
    assert len(await site[2].calls(ended)) == 4
    await site[2].delay(0)


async def test_next_turn_knows(site: Site) -> None:
    """A later turn of the conversation reads what tools returned, and the server is not asked again what it has."""
    first = await run(site, "add once", calling("add", a=1, b=2), saying("3."))
    second = await run(site, "and what was it", saying("It was 3."), previous_response_id=first.id)
    assert kinds(second) == ["message"]
    [request] = await site[0].model_requests("and what was it")
    assert [message["role"] for message in request["messages"]] == ["user", "assistant", "tool", "assistant", "user"]


async def test_tool_fails(site: Site) -> None:
    """What goes wrong with a tool is told to the model and shown, and the turn goes on."""
    replies = [calling("fail"), calling("add", a="x", b=2), calling("none_such"), saying("Sorry.")]
    ended = await run(site, "go wrong", *replies[:2], replies[3])
    failed = [item for item in ended.response["output"] if item["type"] == "mcp_call"]
    assert [item["status"] for item in failed] == ["failed", "failed"]
    assert "always fails" in failed[0]["error"]
    assert ended.response["status"] == "completed"


async def test_server_is_away(site: Site) -> None:
    """A server that cannot be reached is shown as that, and the model answers without it."""
    away = {"type": "mcp", "server_label": "away", "server_url": "http://127.0.0.1:9/mcp", "require_approval": "never"}
    ended = await run(site, "nobody there", saying("Alone."), tools=[away])
    listed, answer = ended.response["output"]
    assert (listed["type"], listed["tools"]) == ("mcp_list_tools", [])
    assert listed["error"]
    assert answer["content"][0]["text"] == "Alone."


async def test_private_address(site: Site) -> None:
    """A server at a private address that the operator does not allow is not spoken to."""
    private = {"type": "mcp", "server_label": "x", "server_url": "http://10.0.0.1/mcp", "require_approval": "never"}
    ended = await run(site, "inside", saying("No."), tools=[private])
    assert "could not be reached" in ended.response["output"][0]["error"]


@pytest.mark.parametrize("approve", [True, False])
async def test_approval(site: Site, approve: bool) -> None:
    """A call that needs a person's word waits for it in no worker's hands, and is run once it is allowed."""
    text = f"charge if I may {approve}"
    replies = [calling("charge", order=f"approved {approve}"), saying("So it is.")]
    asked = await run(site, text, *replies, tools=[site[2].tool("always")])
    assert kinds(asked) == ["mcp_list_tools", "mcp_approval_request"]
    request = asked.response["output"][-1]
    assert asked.response["status"] == "completed"
    assert await site[2].calls(asked) == []
    response = {"type": "mcp_approval_response", "approval_request_id": request["id"], "approve": approve}
    # It may come days later, on any gateway.
    other = await site[0].gateway()
    answered = await post(other, input=[response], previous_response_id=asked.id, tools=[site[2].tool("always")])
    *_, told = await site[0].model_requests(text)
    [tool] = [message for message in told["messages"] if message["role"] == "tool"]
    if approve:
        call, answer = answered["output"]
        assert (call["type"], call["approval_request_id"]) == ("mcp_call", request["id"])
        assert call["output"] == tool["content"] == "charged approved True"
    else:
        [answer] = answered["output"]
        assert "not allow" in tool["content"]
    assert answer["content"][0]["text"] == "So it is."
    orders = [call["arguments"]["order"] for call in await site[2].calls() if call["tool"] == "charge"]
    assert orders.count(f"approved {approve}") == approve


async def test_clients_own_tools_beside(site: Site) -> None:
    """What the model calls of Turnstream's is run; then the client is asked for what it calls of the client's."""
    both = {"tool_calls": [{"name": "ask_user", "arguments": {}}, {"name": "add", "arguments": {"a": 1, "b": 1}}]}
    ended = await run(site, "both kinds", both, saying("Thanks."), tools=[FUNCTION, site[2].tool()])
    assert kinds(ended) == ["mcp_list_tools", "mcp_call", "function_call"]
    call = ended.response["output"][-1]
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "blue"}
    tools = [FUNCTION, site[2].tool()]
    answered = await post(site[1], input=[output], previous_response_id=ended.id, tools=tools)
    assert answered["output"][0]["content"][0]["text"] == "Thanks."


@pytest.mark.parametrize(
    ("limit", "reason"),
    [({"max_tool_calls": 2}, "max_tool_calls"), ({"max_infer_iters": 2}, "max_infer_iters")],
)
async def test_limits(site: Site, limit: dict[str, int], reason: str) -> None:
    """A turn that comes to a limit says which; what it has done by then stands in its output."""
    ended = await run(site, f"for ever, until {reason}", calling("add", a=1, b=1), **limit)
    assert ended.response["status"] == "incomplete"
    assert ended.response["incomplete_details"] == {"reason": reason}
    assert kinds(ended) == ["mcp_list_tools", "mcp_call", "mcp_call"]
    assert len(await site[2].calls(ended)) == 2


async def test_deadline(site: Site) -> None:
    """A turn whose time is over is incomplete, and the tool that was running is told to stop."""
    ended = await run(site, "too slow", calling("slow", seconds=30), saying("Never."), deadline=1.5)
    assert ended.response["incomplete_details"] == {"reason": "deadline"}
    assert ended.response["output"][-1]["status"] == "incomplete"
    async with asyncio.timeout(5):
        while not (await site[2].calls(ended))[0]["cancelled"]:  # noqa: ASYNC110 - another process does it
            await asyncio.sleep(0.05)


async def test_cancelled_tool(site: Site) -> None:
    """A cancel reaches the tool that is running: it is told to stop, and the turn ends at once."""
    deployment, gateway, shop = site
    await deployment.script("stop it", calling("slow", seconds=30))
    transcript = Transcript()
    async with httpx.AsyncClient(base_url=gateway.url) as client:
        async for event in start(gateway.url, transcript, input="stop it", tools=[shop.tool()]):
            if event["type"] == "response.mcp_call_arguments.done":
                async with asyncio.timeout(5):
                    while not await shop.calls(transcript):  # noqa: ASYNC110 - another process does it
                        await asyncio.sleep(0.05)
                await client.post(f"/v1/responses/{transcript.id}/cancel")
    assert transcript.response["status"] == "cancelled"
    assert disorder(transcript.events) == []
    async with asyncio.timeout(5):
        while not (await shop.calls(transcript))[0]["cancelled"]:  # noqa: ASYNC110 - another process does it
            await asyncio.sleep(0.05)


async def test_results_that_are_too_much_together(site: Site) -> None:
    """What tools return above what a turn has room for is those calls' error, and the turn goes on."""
    together = {"tool_calls": [{"name": "big", "arguments": {"bytes": 250_000}} for _ in range(40)]}
    ended = await run(site, "ask for it all", together, saying("Done."))
    calls = [item for item in ended.response["output"] if item["type"] == "mcp_call"]
    kept = [call for call in calls if call["status"] == "completed"]
    assert len(kept) == MAX_JOURNAL // 250_000
    assert {call["error"] for call in calls if call not in kept} == {NO_ROOM}
    assert ended.response["status"] == "completed"


async def asked_to_charge(site: Site, text: str, order: str, *replies: dict[str, Any], **body: Any) -> Transcript:
    """Run a turn that ends with the question whether it may charge; the model answers so behind that."""
    body.setdefault("tools", [site[2].tool("always")])
    return await run(site, text, calling("charge", order=order), *replies, **body)


def allowing(asked: Transcript) -> list[dict[str, Any]]:
    """Make the input that allows what a turn has asked for."""
    request = asked.response["output"][-1]
    return [{"type": "mcp_approval_response", "approval_request_id": request["id"], "approve": True}]


async def charges(site: Site, order: str) -> int:
    """Return how often an order was charged."""
    calls = await site[2].calls()
    return sum(call["tool"] == "charge" and call["arguments"]["order"] == order for call in calls)


async def charging(site: Site, order: str) -> None:
    """Wait until an order is being charged."""
    async with asyncio.timeout(10):
        while not await charges(site, order):  # noqa: ASYNC110 - another process does it
            await asyncio.sleep(0.02)


async def a_conversation(site: Site) -> str:
    """Make a conversation."""
    async with httpx.AsyncClient(base_url=site[1].url) as client:
        return str((await client.post("/v1/conversations", json={})).json()["id"])


async def test_approved_twice(site: Site) -> None:
    """A call that a person allows twice, by turns that follow the question, is run once; both show what it returned."""
    tools = [site[2].tool("always")]
    asked = await asked_to_charge(site, "charge if I may, and I may", "twice", saying("So it is."))
    answers = [await post(site[1], input=allowing(asked), previous_response_id=asked.id, tools=tools) for _ in range(2)]
    for call, answer in (answered["output"] for answered in answers):
        assert (call["status"], call["output"], call["error"]) == ("completed", "charged twice", None)
        assert answer["content"][0]["text"] == "So it is."
    assert len({answered["output"][0]["id"] for answered in answers}) == 2
    assert await charges(site, "twice") == 1


async def test_approved_twice_by_a_client_that_keeps_everything_itself(site: Site) -> None:
    """A call is run once also where nothing is kept, and its client sends the question back with each answer."""
    text, kept = "charge if I may, and forget it", {"tools": [site[2].tool("always")], "store": False}
    asked = await asked_to_charge(site, text, "kept", saying("So it is."), **kept)
    sent = [{"role": "user", "content": text}, *asked.response["output"], *allowing(asked)]
    first, second = [await post(site[1], input=sent, **kept) for _ in range(2)]
    assert first["output"][0]["output"] == "charged kept"
    assert second["output"][0]["approval_request_id"] == asked.response["output"][-1]["id"]
    assert await charges(site, "kept") == 1


async def test_approved_again_after_a_failure(site: Site) -> None:
    """A call that was allowed and run is not run again when its turn failed behind it and the person answers again."""
    of, refusal = await a_conversation(site), {"error": {"status": 400, "message": "No."}}
    text, then = "charge if I may, then fail", [refusal, saying("So it is.")]
    asked = await asked_to_charge(site, text, "again", *then, conversation=of)
    body: dict[str, Any] = {"input": allowing(asked), "conversation": of, "tools": [site[2].tool("always")]}
    ends = [await post(site[1], **body) for _ in range(2)]
    assert [end["status"] for end in ends] == ["failed", "completed"]
    assert ends[1]["output"][0]["output"] == "charged again"
    assert await charges(site, "again") == 1


async def test_approved_while_it_runs(site: Site) -> None:
    """Who allows a call that runs already is told where, and the call that runs goes on."""
    tools = [site[2].tool("always")]
    asked = await asked_to_charge(site, "charge slowly if I may", "slowly", saying("So it is."))
    body: dict[str, Any] = {"input": allowing(asked), "previous_response_id": asked.id, "tools": tools}
    await site[2].delay(2)
    first = asyncio.create_task(post(site[1], **body))
    await charging(site, "slowly")
    told = (await post(site[1], **body))["output"][0]
    assert not first.done()
    await site[2].delay(0)
    ran = await first
    assert ran["output"][0]["output"] == "charged slowly"
    assert (told["status"], told["output"]) == ("failed", None)
    assert ran["id"] in told["error"]
    assert await charges(site, "slowly") == 1


@pytest.mark.parametrize(("policy", "times"), [(None, 1), ("retry", 2)])
async def test_approved_and_rolled_back(site: Site, policy: str | None, times: int) -> None:
    """A call that was broken off by its turn's rollback is not run again by another answer, unless its tool says so."""
    of, order = await a_conversation(site), f"rolled back, {policy}"
    asked = await asked_to_charge(site, f"charge, {order}", order, saying("So it is."), conversation=of)
    tool = site[2].tool("always", **({"on_uncertain": policy} if policy else {}))
    body: dict[str, Any] = {"input": allowing(asked), "conversation": of, "tools": [tool]}
    await site[2].delay(30)
    first = asyncio.create_task(post(site[1], **body))
    await charging(site, order)
    await site[2].delay(0)
    answered = await post(site[1], **body, on_busy="rollback")
    assert (await first)["status"] == "cancelled"
    call = answered["output"][0]
    assert call["output"] == f"charged {order}" if policy else "not known" in call["error"]
    executed = [one for one in await site[2].calls() if one["arguments"].get("order") == order]
    assert len(executed) == times
    assert len({one["key"] for one in executed}) == 1


async def test_approved_for_a_deleted_conversation(site: Site) -> None:
    """A call is not run for an answer whose conversation was deleted, before it comes or before its turn begins."""
    of = await a_conversation(site)
    asked = await asked_to_charge(site, "charge for nobody", "for nobody", saying("So it is."), conversation=of)
    answer = {"input": allowing(asked), "conversation": of, "tools": [site[2].tool("always")], "background": True}
    await post(site[1], input="[stand-in tokens=40 delay_ms=25] go on", conversation=of, background=True)
    waiting, transcript = await post(site[1], **answer), Transcript()
    async with httpx.AsyncClient(base_url=site[1].url) as client:
        await client.delete(f"/v1/conversations/{of}")
        refused = await client.post("/v1/responses", json={"model": "stand-in", **answer})
    await read_to_end(site[1].url, transcript, waiting["id"])
    assert refused.json()["error"]["code"] == "conversation_not_found"
    assert transcript.response["error"]["code"] == "conversation_not_found"
    assert await charges(site, "for nobody") == 0


@pytest.mark.parametrize("levels", [100, 600, 1000])
async def test_deep_arguments(site: Site, levels: int) -> None:
    """Arguments that are nested more deeply than can be sent are that call's error, and the turn goes on."""
    deep = {"tool_calls": [{"name": "add", "arguments": f'{{"a":{"[" * levels}{"]" * levels},"b":1}}'}]}
    ended = await run(site, f"go deep {levels}", deep, saying("Done."))
    [call] = [item for item in ended.response["output"] if item["type"] == "mcp_call"]
    assert (call["status"], call["error"]) == ("failed", "The arguments are not a JSON object of at most 64 levels.")
    assert ended.response["status"] == "completed"
