"""Turns that share a conversation."""

import asyncio
from random import Random
from typing import Any

from chaos.record import Posted, Talk
from chaos.turn_maker import TurnMaker


async def talk(maker: TurnMaker, key: str, rng: Random) -> None:
    """Post one turn after the other."""
    for posted in await _turns_of_talk(maker, key, rng):
        await maker.client.follow(posted, posted.reading(attached=True), rng)


async def talk_at_once(maker: TurnMaker, key: str, rng: Random) -> None:
    """Post all turns at the same time: each waits for the others."""
    turns = await _turns_of_talk(maker, key, rng, in_order=False)
    await asyncio.gather(*(maker.client.follow(posted, posted.reading(attached=True), rng) for posted in turns))


async def make_way(maker: TurnMaker, key: str, rng: Random) -> None:
    """Post turns that wait for those before them, or end them."""
    turns = await _turns_of_talk(maker, key, rng, stream=False, background=True)
    async with asyncio.TaskGroup() as readers:
        for place, posted in enumerate(turns):
            on_busy = posted.body["on_busy"] = rng.choice(("enqueue", "interrupt", "rollback"))
            if on_busy != "enqueue":
                for earlier in turns[:place]:
                    earlier.may_end.add("cancelled")
            await maker.client.post(posted, rng)
            if posted.id and on_busy != "enqueue":
                await _have_ended(maker, turns[:place], posted, rng)
            readers.create_task(maker.client.follow(posted, posted.reading(), rng))
            await asyncio.sleep(rng.uniform(0, 1.5))


async def _have_ended(maker: TurnMaker, earlier: list[Posted], posted: Posted, rng: Random) -> None:
    """See that a turn which was just accepted has ended all before it."""
    for before in earlier:
        status = (await maker.client.retrieve(before, rng)).get("status")
        if status in {"queued", "in_progress"}:
            posted.oddities.append(f"it was to {posted.body['on_busy']} {before.name}, which is {status}")


async def _turns_of_talk(
    maker: TurnMaker, key: str, rng: Random, *, in_order: bool = True, **more: Any
) -> list[Posted]:
    answer = await maker.client.ask(rng, "POST", "/v1/conversations", json={})
    begun = Talk(answer.raise_for_status().json()["id"], in_order=in_order)
    maker.record.talks.append(begun)
    for number in range(rng.randint(2, 4)):
        begun.turns.append(maker.text(f"{key}-{number}", rng, conversation=begun.id, **more))
    return begun.turns
