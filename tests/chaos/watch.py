"""Watches while turns run: of a conversation's turns, no two are under way in the same instant."""

import asyncio
from random import Random

from chaos.client import Client
from chaos.record import Record

EVERY = 1.0  # seconds


async def watch(client: Client, record: Record) -> None:
    """List the newest turns again and again, each time as they are stored in one instant, until it is cancelled."""
    rng = Random(0)
    while True:
        answer = await client.ask(rng, "GET", "/v1/responses", params={"limit": 100})
        under_way: dict[str, set[str]] = {}
        for response in answer.raise_for_status().json()["data"]:
            if response["conversation"] and response["status"] == "in_progress":
                under_way.setdefault(response["conversation"]["id"], set()).add(response["id"])
        for conversation, turns in under_way.items():
            if len(turns) > 1:
                record.crowds.setdefault(conversation, set()).update(turns)
        await asyncio.sleep(EVERY)
