"""A load of all kinds of turns, each decided by the seed and its number."""

import asyncio
from itertools import count
from random import Random
from typing import Any

from support.reader import Event
from support.tool_turns import ToolServer

from chaos.client import Client, Leaves
from chaos.record import Posted, Record, Talk

MODEL = "stand-in"
LONG = 1500  # tokens; more than the kernels' and the gateway's buffers take


class Load:
    """Clients that post turns, a bounded number at a time, until they are told to stop."""

    def __init__(self, client: Client, tools: ToolServer, seed: str, record: Record) -> None:
        self.stop = asyncio.Event()
        self._client = client
        self._tools = tools
        self._seed = seed
        self._record = record
        self._numbers = count()
        self._kinds = {
            self._read: 30,
            self._vanish: 15,
            self._read_together: 8,
            self._read_slowly: 3,
            self._cancel: 12,
            self._wait_for: 8,
            self._leave_in_background: 8,
            self._talk: 8,
            self._talk_at_once: 5,
            self._call_tools: 20,
            self._approve: 8,
        }

    async def run(self, clients: int) -> None:
        """Let so many clients post one turn after the other; return when all their turns have ended."""
        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(self._post_turns())

    async def _post_turns(self) -> None:
        while not self.stop.is_set():
            number = next(self._numbers)
            rng = Random(f"{self._seed}/{number}")
            [kind] = rng.choices(list(self._kinds), list(self._kinds.values()))
            await kind(f"chaos-{self._seed}-{number}-{kind.__name__.strip('_')}", rng)

    # Readers

    async def _read(self, key: str, rng: Random) -> None:
        posted = self._text(key, rng)
        await self._client.follow(posted, posted.reading(attached=True), rng)

    async def _vanish(self, key: str, rng: Random) -> None:
        posted = self._text(key, rng)
        reading = posted.reading()
        for _ in range(rng.randint(1, 4)):
            await self._client.follow(posted, reading, rng, leaves=_after(rng.randint(1, 12)))
            await asyncio.sleep(rng.uniform(0, 1))
        await self._client.follow(posted, reading, rng)

    async def _read_together(self, key: str, rng: Random) -> None:
        posted = self._text(key, rng)
        leader = posted.reading()
        await self._client.follow(posted, leader, rng, leaves=_after(rng.randint(1, 8)))
        late = [posted.reading() for _ in range(2)]
        await asyncio.gather(*(self._client.follow(posted, one, rng) for one in (leader, *late)))

    async def _read_slowly(self, key: str, rng: Random) -> None:
        posted = self._text(key, rng, tokens=LONG, delay_ms=0)
        naps = (rng.uniform(1, 4) if number % (LONG // 4) == 10 else 0 for number in count())
        await self._client.follow(posted, posted.reading(), rng, naps=naps)

    # Those who do not read

    async def _cancel(self, key: str, rng: Random) -> None:
        posted = self._text(key, rng)
        reading = posted.reading()
        await self._client.follow(posted, reading, rng, leaves=_after(rng.randint(1, 20)))
        if not reading.over:
            await self._client.cancel(posted, rng)
            await self._client.follow(posted, reading, rng)

    async def _wait_for(self, key: str, rng: Random) -> None:
        await self._until_ended(self._text(key, rng, stream=False), rng)

    async def _leave_in_background(self, key: str, rng: Random) -> None:
        await self._until_ended(self._text(key, rng, stream=False, background=True), rng)

    async def _until_ended(self, posted: Posted, rng: Random) -> None:
        response = await self._client.post(posted, rng)
        while response.get("status") in {"queued", "in_progress"}:
            await asyncio.sleep(0.5)
            response = await self._client.retrieve(posted, rng)

    # Conversations

    async def _talk(self, key: str, rng: Random) -> None:
        for posted in await self._turns_of_talk(key, rng):
            await self._client.follow(posted, posted.reading(attached=True), rng)

    async def _talk_at_once(self, key: str, rng: Random) -> None:
        turns = await self._turns_of_talk(key, rng)
        await asyncio.gather(*(self._client.follow(posted, posted.reading(attached=True), rng) for posted in turns))

    async def _turns_of_talk(self, key: str, rng: Random) -> list[Posted]:
        answer = await self._client.ask(rng, "POST", "/v1/conversations", json={})
        talk = Talk(answer.raise_for_status().json()["id"])
        self._record.talks.append(talk)
        for number in range(rng.randint(2, 4)):
            talk.turns.append(self._text(f"{key}-{number}", rng, conversation=talk.id))
        return talk.turns

    # Tools

    async def _call_tools(self, key: str, rng: Random) -> None:
        calls = rng.randint(1, 4)
        name = rng.choice(("charge", "charge", "add"))
        # Numbers for the one, an order for the other.
        posted = self._text(f"{key} {name} 1 2", rng, calls=calls, tools=[self._tools.tool()])
        posted.charges = calls if name == "charge" else 0
        await self._client.follow(posted, posted.reading(attached=True), rng)

    async def _approve(self, key: str, rng: Random) -> None:
        tools = [self._tools.tool("always")]
        posted = self._text(f"{key} charge", rng, tools=tools)
        tokens, posted.tokens = posted.tokens, None  # it says nothing, but asks
        reading = posted.reading(attached=True)
        await self._client.follow(posted, reading, rng)
        if not reading.ended:
            return
        asked = [item for item in reading.response["output"] if item["type"] == "mcp_approval_request"]
        if len(asked) != 1:
            posted.oddities.append(f"it asked for {len(asked)} approvals")
            return
        approve = rng.random() < 2 / 3
        answer = {"type": "mcp_approval_response", "approval_request_id": asked[0]["id"], "approve": approve}
        answered = self._text(f"{key}-answered", rng, previous_response_id=posted.id, tools=tools)
        answered.body["input"] = [answer]
        answered.tokens = tokens
        answered.charges = int(approve)
        await self._client.follow(answered, answered.reading(attached=True), rng)

    def _text(
        self,
        key: str,
        rng: Random,
        *,
        tokens: int | None = None,
        delay_ms: int | None = None,
        calls: int = 1,
        **more: Any,
    ) -> Posted:
        """Note down a turn, fast or slow, that is to be posted; with tools it calls one of them so often in a row."""
        tokens = tokens or rng.randint(5, 80)
        delay_ms = rng.choice((0, 5, 30, 60)) if delay_ms is None else delay_ms
        text = f"[stand-in tokens={tokens} delay_ms={delay_ms} calls={calls}] {key}"
        body = {"model": MODEL, "input": text, "metadata": {"key": key}, "stream": True, **more}
        posted = Posted(key, body, tokens=tokens)
        self._record.turns.append(posted)
        return posted


def _after(events: int) -> Leaves:
    """Leave once so many events have come."""
    left = iter(range(events))

    def leaves(_: Event) -> bool:
        return next(left, None) is None

    return leaves
