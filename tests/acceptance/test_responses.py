"""The life of a response through the openai SDK: created, watched, resumed, polled, cancelled, listed and deleted."""

import asyncio
from typing import Any

import httpx
import openai
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from support.deployment import Gateway

SOON = 30  # seconds
SLOW = "[stand-in tokens=40 delay_ms=20] "  # begins an input whose answer takes most of a second
ENDLESS = "[stand-in tokens=1000 delay_ms=50] "  # and one that nobody waits for
RUNNING = {"queued", "in_progress"}


async def ended(client: openai.AsyncOpenAI, response: Response) -> Response:
    """Poll a response until it has ended."""
    async with asyncio.timeout(SOON):
        while response.status in RUNNING:
            response = await client.responses.retrieve(response.id)
    return response


def numbers(events: list[ResponseStreamEvent]) -> list[int]:
    """Return the numbers of some events."""
    return [event.sequence_number for event in events]


# Created and watched


async def test_whole(client: openai.AsyncOpenAI) -> None:
    """A response that is asked for whole is there when the call returns."""
    response = await client.responses.create(model="stand-in", input="whole", stream=False, background=False)
    assert (response.status, response.background, response.error) == ("completed", False, None)
    assert response.output_text
    assert response.completed_at


async def test_streamed(client: openai.AsyncOpenAI) -> None:
    """A streamed response begins and ends with itself, and its numbers have no gap."""
    stream = await client.responses.create(model="stand-in", input="streamed", stream=True, background=False)
    events = [event async for event in stream]
    assert numbers(events) == list(range(len(events)))
    first, second, *_, last = events
    assert first.type == "response.created"
    assert first.response.status == "in_progress"
    assert second.type == "response.in_progress"
    assert last.type == "response.completed"
    assert last.response == await client.responses.retrieve(first.response.id)
    assert last.response.background is False


async def test_in_background(client: openai.AsyncOpenAI) -> None:
    """A response in the background is answered at once, and polled until it has ended."""
    response = await client.responses.create(model="stand-in", input=f"{SLOW}go on", stream=False, background=True)
    assert response.status in RUNNING
    assert (response.background, response.output, response.completed_at) == (True, [], None)
    response = await ended(client, response)
    assert (response.status, response.background) == ("completed", True)
    assert len(response.output_text.split()) == 40


async def test_streamed_in_background(client: openai.AsyncOpenAI) -> None:
    """A response in the background may be streamed, left in the middle, and read on from there while it runs."""
    stream = await client.responses.create(model="stand-in", input=f"{SLOW}go on", stream=True, background=True)
    events: list[ResponseStreamEvent] = []
    async for event in stream:
        events.append(event)
        if event.type == "response.output_text.delta":
            break
    await stream.close()
    assert events[0].type == "response.created"
    assert events[0].response.background is True
    rest = await client.responses.retrieve(
        events[0].response.id, stream=True, starting_after=events[-1].sequence_number
    )
    events += [event async for event in rest]
    assert numbers(events) == list(range(len(events)))
    last = events[-1]
    assert last.type == "response.completed"
    said = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert said == last.response.output_text


async def test_stream_helper(client: openai.AsyncOpenAI) -> None:
    """The SDK's helper accumulates the events to what is stored, and takes up a response again by its id."""
    async with client.responses.stream(model="stand-in", input="helped", background=True) as stream:
        events = [event async for event in stream]
        final = await stream.get_final_response()
    deltas = [event for event in events if event.type == "response.output_text.delta"]
    assert deltas[-1].snapshot == final.output_text
    stored = await client.responses.retrieve(final.id)
    assert final.model_dump(exclude={"output"}) == stored.model_dump(exclude={"output"})
    assert final.output_text == stored.output_text
    after = deltas[0].sequence_number
    async with client.responses.stream(response_id=final.id, starting_after=after) as again:
        resumed = [event async for event in again]
    assert [event.sequence_number for event in resumed] == list(range(after + 1, len(events)))
    assert (await again.get_final_response()).output_text == final.output_text


async def test_resumed_behind_the_end(client: openai.AsyncOpenAI) -> None:
    """A reader who has all events of a response that is over gets an end and no event; one who claims more is told."""
    stream = await client.responses.create(model="stand-in", input="all of it", stream=True)
    events = [event async for event in stream]
    assert events[0].type == "response.created"
    rest = await client.responses.retrieve(events[0].response.id, stream=True, starting_after=len(events) - 1)
    assert [event async for event in rest] == []
    for after in (len(events), 10**12):
        claimed = await client.responses.retrieve(events[0].response.id, stream=True, starting_after=after)
        with pytest.raises(openai.APIError, match="lost"):
            assert [event async for event in claimed] == []
    with pytest.raises(openai.BadRequestError):
        await client.responses.retrieve(events[0].response.id, stream=True, starting_after=-2)


async def test_obfuscation(client: openai.AsyncOpenAI) -> None:
    """Deltas are filled up to a common length, unless the client will not have it, at the start or on its return."""
    filled = [event async for event in await client.responses.create(model="stand-in", input="how long?", stream=True)]
    assert filled[0].type == "response.created"
    deltas = [event for event in filled if event.type == "response.output_text.delta"]
    assert len({len(event.delta) for event in deltas}) > 1
    assert {len(event.delta) + len(str(event.to_dict()["obfuscation"])) for event in deltas} == {16}
    bare = await client.responses.create(
        model="stand-in", input="how long?", stream=True, stream_options={"include_obfuscation": False}
    )
    again = await client.responses.retrieve(filled[0].response.id, stream=True, include_obfuscation=False)
    for stream in (bare, again):
        unfilled = [event async for event in stream if event.type == "response.output_text.delta"]
        assert [event.delta for event in unfilled] == [event.delta for event in deltas]
        assert not any("obfuscation" in event.to_dict() for event in unfilled)


# Ended by its client


async def test_cancel(client: openai.AsyncOpenAI) -> None:
    """A running response is cancelled with what it has said, stays so, and its stream ends."""
    stream = await client.responses.create(model="stand-in", input=f"{ENDLESS}go on", stream=True, background=True)
    async with asyncio.timeout(SOON):
        async for event in stream:
            if event.type == "response.created":
                response = event.response
            if event.type == "response.output_text.delta":
                cancelled = await client.responses.cancel(response.id)
                break
        assert cancelled.status == "cancelled"
        last = [event async for event in stream][-1]
    assert last.type == "response.incomplete"
    assert last.response.status == "cancelled"
    stored = await client.responses.retrieve(response.id)
    assert stored == last.response == await client.responses.cancel(response.id)
    [message] = stored.output
    assert message.type == "message"
    assert message.status == "incomplete"
    assert stored.output_text


async def test_cancel_too_late(client: openai.AsyncOpenAI) -> None:
    """A response that has ended is not cancelled any more, and one that never was is not found."""
    response = await client.responses.create(model="stand-in", input="quick")
    with pytest.raises(openai.ConflictError) as refused:
        await client.responses.cancel(response.id)
    assert refused.value.code == "response_already_ended"
    with pytest.raises(openai.NotFoundError):
        await client.responses.cancel("resp_none")


async def test_delete(client: openai.AsyncOpenAI) -> None:
    """A response can be deleted once it has ended, and is gone for every use."""
    response = await client.responses.create(model="stand-in", input=f"{ENDLESS}go on", background=True)
    with pytest.raises(openai.ConflictError) as refused:
        await client.responses.delete(response.id)
    assert refused.value.code == "response_not_ended"
    await client.responses.cancel(response.id)
    async with asyncio.timeout(SOON):
        while True:  # until its worker has let go of it
            try:
                await client.responses.delete(response.id)
            except openai.ConflictError:
                continue
            break
    uses: list[Any] = [
        client.responses.retrieve(response.id),
        client.responses.cancel(response.id),
        client.responses.delete(response.id),
        client.responses.input_items.list(response.id),
        client.responses.create(model="stand-in", input="x", previous_response_id=response.id),
    ]
    for use in uses:
        with pytest.raises(openai.NotFoundError):
            await use


# Listed


async def test_input_items(client: openai.AsyncOpenAI) -> None:
    """The input of a response is read in pages of any size, in both orders, and from behind any item."""
    response = await client.responses.create(
        model="stand-in", input=[{"role": "user", "content": f"number {n}"} for n in range(5)]
    )
    forward = [item.id async for item in client.responses.input_items.list(response.id, order="asc", limit=2)]
    assert len(set(forward)) == 5
    assert [item.id async for item in client.responses.input_items.list(response.id)] == forward[::-1]
    page = await client.responses.input_items.list(
        response.id, order="asc", after=forward[1], limit=2, include=["message.input_image.image_url"]
    )
    assert [item.id for item in page.data] == forward[2:4]
    assert page.has_more


async def test_places_of_other_lists(client: openai.AsyncOpenAI, gateway: Gateway) -> None:
    """A page behind something that is not in the list is refused: to begin anew would never come to an end."""
    one, other = [await client.responses.create(model="stand-in", input="listed") for _ in range(2)]
    place = (await client.responses.input_items.list(other.id)).data[0].id
    conversation = await client.conversations.create(items=[{"role": "user", "content": "x"}])
    assert place
    with pytest.raises(openai.NotFoundError):
        await client.responses.input_items.list(one.id, after=place)
    with pytest.raises(openai.NotFoundError):
        await client.conversations.items.list(conversation.id, after=place)
    async with httpx.AsyncClient(base_url=gateway.url) as http:
        for name in ("after", "before"):
            refused = await http.get("/v1/responses", params={name: conversation.id})
            assert (refused.status_code, refused.json()["error"]["param"]) == (httpx.codes.BAD_REQUEST, name)
