"""Turns that call tools with side effects, each of which may come to its end once, or as its turn says."""

import asyncio
from random import Random
from typing import Any

from chaos.record import Posted
from chaos.turn_maker import TurnMaker

PARALLEL = "[parallel]"  # a text with it has the model call several tools in each of its answers
AT_ONCE = 3  # calls
ANSWERS = 5  # that a person gives at most to one question after the other


async def call_tools(maker: TurnMaker, key: str, rng: Random) -> None:
    """Call a tool several times in a row."""
    calls = rng.randint(1, 4)
    name = rng.choice(("charge", "charge", "add"))
    # Numbers for the one, an order for the other.
    posted = maker.text(f"{key} {name} 1 2", rng, calls=calls, tools=[maker.tools.tool()])
    posted.calls, posted.charges = calls, calls if name == "charge" else 0
    await maker.client.follow(posted, posted.reading(attached=True), rng)


async def call_in_parallel(maker: TurnMaker, key: str, rng: Random) -> None:
    """Have the model call tools at once, again and again, until as many were called as may be."""
    calls = rng.randint(2, 3 * AT_ONCE)
    tools = [maker.tools.tool(on_uncertain=rng.choice(("fail", "retry")))]
    posted = maker.text(f"{PARALLEL} {key}", rng, tools=tools, max_tool_calls=calls)
    posted.calls = posted.charges = calls
    posted.tokens, posted.may_end = None, {"incomplete"}
    await maker.client.follow(posted, posted.reading(attached=True), rng)


async def call_again(maker: TurnMaker, key: str, rng: Random) -> None:
    """Call a tool that may be called again with the same key."""
    calls = rng.randint(1, 3)
    posted = maker.text(f"{key} charge", rng, calls=calls, tools=[maker.tools.tool(on_uncertain="retry")])
    posted.calls = posted.charges = calls
    await maker.client.follow(posted, posted.reading(attached=True), rng)


async def call_in_one_attempt(maker: TurnMaker, key: str, rng: Random) -> None:
    """Call a tool in a turn that may be begun once: it fails if its worker dies."""
    posted = maker.text(f"{key} charge", rng, tools=[maker.tools.tool()], max_attempts=1)
    posted.calls = posted.charges = 1
    posted.may_end.add("failed")
    await maker.client.follow(posted, posted.reading(attached=True), rng)


async def ask_before_again(maker: TurnMaker, key: str, rng: Random) -> None:
    """Call a tool, and have a person asked before it is called again."""
    await _with_person(maker, key, rng, [maker.tools.tool(on_uncertain="ask")], charges=1)


async def ask_before(maker: TurnMaker, key: str, rng: Random) -> None:
    """Have a person asked before a tool is called at all."""
    await _with_person(maker, key, rng, [maker.tools.tool("always")], charges=0)


async def _with_person(maker: TurnMaker, key: str, rng: Random, tools: list[dict[str, Any]], *, charges: int) -> None:
    """Run a turn that may ask a person, who answers later by another turn, which may ask again."""
    posted = maker.text(f"{key} charge", rng, tools=tools)
    posted.charges, tokens = charges, posted.tokens
    for number in range(ANSWERS):
        request = await _asked(maker, posted, rng)
        if request is None:
            return
        await asyncio.sleep(rng.uniform(0, 2))
        approve = rng.random() < 2 / 3
        answer = {"type": "mcp_approval_response", "approval_request_id": request, "approve": approve}
        posted = maker.text(f"{key}-answer-{number}", rng, previous_response_id=posted.id, tools=tools)
        posted.body["input"] = [answer]
        posted.charges, posted.tokens = int(approve), tokens
    await maker.client.follow(posted, posted.reading(attached=True), rng)


async def _asked(maker: TurnMaker, posted: Posted, rng: Random) -> str | None:
    """Read a turn to its end, and return the id of what it asks, if it does."""
    reading = posted.reading(attached=True)
    await maker.client.follow(posted, reading, rng)
    if not reading.ended:
        return None
    requests = [item["id"] for item in reading.response["output"] if item["type"] == "mcp_approval_request"]
    if not requests:
        return None
    posted.tokens = None  # it says nothing, but asks
    if len(requests) != 1:
        posted.oddities.append(f"it asks for {len(requests)} approvals")
    return str(requests[0])
