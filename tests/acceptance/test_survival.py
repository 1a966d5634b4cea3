"""A turn survives whatever dies: nothing lost, nothing repeated, nothing left open."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable

import httpx
import orjson
import pytest
from support.deployment import Deployment
from support.event_order import disorder
from support.infrastructure import Server
from support.reader import NOTHING, Transcript, read_to_end, resume, start, tally

from turnstream.verify import verify
from turnstream_local.child import Child

TURNS = 8  # at a time
TOKENS = 40
PROMPTLY = 10  # seconds, of which a turn itself takes two
SLOWLY = f"[stand-in tokens={TOKENS} delay_ms=30] go on"


async def read_some(url: str, events: int, text: str = SLOWLY) -> Transcript:
    """Start a turn and go away after some events."""
    transcript = Transcript()
    async for _ in start(url, transcript, input=text):
        if len(transcript.events) == events:
            break
    return transcript


async def read_through(url: str, transcript: Transcript, midway: asyncio.Event) -> None:
    """Start a turn, say when its text has begun, and read on to its end over whatever happens."""
    try:
        async for event in start(url, transcript, input=SLOWLY):
            if event["type"] == "response.output_text.delta":
                midway.set()
    except httpx.TransportError:
        await read_to_end(url, transcript)


async def while_reading(url: str, breakage: Callable[[], Awaitable[None]]) -> list[Transcript]:
    """Read turns through, and break something once all of them stream."""
    transcripts = [Transcript() for _ in range(TURNS)]
    midway = [asyncio.Event() for _ in range(TURNS)]
    async with asyncio.timeout(60), asyncio.TaskGroup() as readers:
        for transcript, event in zip(transcripts, midway, strict=True):
            readers.create_task(read_through(url, transcript, event))
        await asyncio.gather(*(event.wait() for event in midway))
        await breakage()
    return transcripts


def assert_whole(transcripts: list[Transcript]) -> None:
    """Every turn was completed once, with all of its text, and every event came once and in its order."""
    assert tally(transcripts) == NOTHING
    for transcript in transcripts:
        assert disorder(transcript.events) == []
        assert verify(map(orjson.dumps, transcript.events)).digest
        [message] = transcript.response["output"]
        assert transcript.response["status"] == "completed"
        assert len(message["content"][0]["text"].split()) == TOKENS
        assert transcript.text_of(message["id"]) == message["content"][0]["text"]


async def test_client_goes_and_comes_back(fragile: Deployment) -> None:
    """A client that went away in mid-stream misses and repeats nothing when it is back, however often."""
    await fragile.worker()
    url = (await fragile.gateway()).url
    transcripts = await asyncio.gather(*(read_some(url, events) for events in (1, 3, 10, 25)))
    for transcript in transcripts:
        async for _ in resume(url, transcript):
            break  # one more event, and gone again
        await read_to_end(url, transcript)
    assert_whole(transcripts)


async def test_several_readers_of_one_turn(fragile: Deployment) -> None:
    """Readers who join late, from different events and on different gateways, all get the same."""
    await fragile.worker()
    first, second = (await fragile.gateway()).url, (await fragile.gateway()).url
    leader = await read_some(first, 12)
    followers = [Transcript(leader.events[:count]) for count in (1, 5, 12)]
    others = [asyncio.create_task(read_to_end(second, follower)) for follower in followers]
    await read_to_end(first, leader)
    await asyncio.gather(*others)
    assert_whole([leader, *followers])
    assert all(follower.events == leader.events for follower in followers)


async def test_gateway_killed(fragile: Deployment) -> None:
    """When the gateway is killed in mid-stream, another one serves the rest."""
    await fragile.worker()
    doomed, other = await fragile.gateway(), await fragile.gateway()
    transcripts = await asyncio.gather(*(read_some(doomed.url, 10) for _ in range(TURNS)))
    await doomed.child.kill()
    await asyncio.gather(*(read_to_end(other.url, transcript) for transcript in transcripts))
    assert_whole(transcripts)


async def test_worker_killed(fragile: Deployment) -> None:
    """When a worker is killed in mid-stream, another runs its turns again and closes what was left half-streamed."""
    url = (await fragile.gateway()).url
    doomed = await fragile.worker()

    async def kill_and_replace() -> None:
        await doomed.kill()
        await fragile.worker()

    transcripts = await while_reading(url, kill_and_replace)
    assert_whole(transcripts)
    for transcript in transcripts:
        done = [event["item"] for event in transcript.events if event["type"] == "response.output_item.done"]
        assert [item["status"] for item in done] == ["incomplete", "completed"]
        assert done[0]["content"][0]["text"] == transcript.text_of(done[0]["id"])


async def test_worker_terminated(fragile: Deployment) -> None:
    """A worker that is told to stop finishes what it has begun, and takes nothing new."""
    url = (await fragile.gateway()).url
    leaving = await fragile.worker()
    transcripts = await while_reading(url, _then_none(leaving.stop))
    assert_whole(transcripts)
    assert all(transcript.kinds().count("response.output_item.added") == 1 for transcript in transcripts)


async def test_worker_hands_over(fragile: Deployment) -> None:
    """A worker whose grace is too short gives its turns to another at once, which is no failed attempt."""
    url = (await fragile.gateway()).url
    leaving = await fragile.worker(TURNSTREAM_GRACE="0.1", TURNSTREAM_LEASE="60", TURNSTREAM_MAX_ATTEMPTS="1")
    await fragile.worker(TURNSTREAM_MAX_ATTEMPTS="1")
    transcripts = await while_reading(url, _then_none(leaving.stop))
    assert_whole(transcripts)


async def test_worker_paused(fragile: Deployment) -> None:
    """A worker that was paused until another had its turns is refused when it goes on, and takes part again."""
    url = (await fragile.gateway()).url
    zombie = await fragile.worker()
    zombie_pid = zombie.pid
    assert zombie_pid

    async def pause() -> None:
        os.kill(zombie_pid, signal.SIGSTOP)
        await fragile.worker()

    transcripts = await while_reading(url, pause)
    os.kill(zombie_pid, signal.SIGCONT)
    assert_whole(transcripts)
    late = [Transcript(list(transcript.events[:1])) for transcript in transcripts]
    assert_whole(await while_reading(url, _then_none(_nothing)))
    await asyncio.gather(*(read_to_end(url, transcript) for transcript in late))
    assert [transcript.events for transcript in late] == [transcript.events for transcript in transcripts]


@pytest.mark.parametrize("which", ["nats", "postgres"])
@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_server_restarted(fragile: Deployment, which: str, how: str) -> None:
    """When NATS or Postgres is restarted or killed in mid-turn, the turns wait for it and go on."""
    await fragile.worker()
    url = (await fragile.gateway()).url
    server: Server = getattr(fragile.infrastructure, which)

    async def restart() -> None:
        await getattr(server, how)()
        await server.start()

    assert_whole(await while_reading(url, restart))


async def test_nats_loses_everything(fragile: Deployment) -> None:
    """When NATS is killed in mid-turn and comes back on an empty disk, turns go on, and new ones begin at once."""
    await fragile.worker()
    gateway = await fragile.gateway()

    async def wipe() -> None:
        await fragile.infrastructure.lose_streams()
        await _logged(gateway.child, "bus.reconnected")  # and its readers find no stream at all
        await fragile.infrastructure.provision()

    transcripts = await while_reading(gateway.url, wipe)
    assert_whole(transcripts)
    assert all(transcript.kinds().count("response.output_item.added") == 1 for transcript in transcripts)
    async with asyncio.timeout(PROMPTLY):
        assert_whole(await while_reading(gateway.url, _nothing))


async def test_nats_stalls(fragile: Deployment) -> None:
    """When NATS hangs for longer than a request waits, turns and readers wait too, and go on with it."""
    worker = await fragile.worker(TURNSTREAM_BUS_TIMEOUT="0.5", TURNSTREAM_WATCHDOG_INTERVAL="0.5")
    gateway = await fragile.gateway(TURNSTREAM_BUS_TIMEOUT="0.5", TURNSTREAM_KEEPALIVE="0.2")
    pid = fragile.infrastructure.nats.pid
    assert pid

    async def stall() -> None:
        os.kill(pid, signal.SIGSTOP)
        await _logged(worker, "bus.retry")
        await _logged(worker, "bus.silent")  # the watchdog has noticed
        os.kill(pid, signal.SIGCONT)

    assert_whole(await while_reading(gateway.url, stall))


async def _logged(child: Child, action: str) -> None:
    """Wait until a process has logged an action."""
    async with asyncio.timeout(30):
        while action not in child.log.path.read_text():  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.05)


async def _nothing() -> None:
    pass


def _then_none(action: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[None]]:
    async def act() -> None:
        await action()

    return act
