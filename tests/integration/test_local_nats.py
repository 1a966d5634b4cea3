"""The local system's NATS server: who may do what, and what outlives a kill."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import nats
import psutil
import pytest
from nats.aio.client import Client
from support.local_processes import DEADLINE

from turnstream_local.nats_server import NatsServer


@pytest.fixture
async def nats_server(data_dir: Path) -> AsyncIterator[NatsServer]:
    """Give a running NATS server."""
    server = NatsServer(data_dir)
    await server.start()
    yield server
    await server.stop()


@asynccontextmanager
async def connected(server: NatsServer, user: str) -> AsyncIterator[tuple[Client, asyncio.Queue[Exception]]]:
    """Connect as one user, with the errors that the server sends."""
    errors: asyncio.Queue[Exception] = asyncio.Queue()

    async def note(error: Exception) -> None:
        errors.put_nowait(error)

    client = await nats.connect(server.url_for(user), error_cb=note, inbox_prefix=f"_INBOX_{user}".encode())
    try:
        yield client, errors
    finally:
        await client.close()


async def test_nats_refuses_a_client_without_credentials(nats_server: NatsServer) -> None:
    """An anonymous connection is refused."""
    reader, writer = await asyncio.open_connection("127.0.0.1", nats_server.port)
    try:
        async with asyncio.timeout(DEADLINE):
            assert (await reader.readline()).startswith(b"INFO")
            writer.write(b"CONNECT {}\r\nPUB turns.interactive.t 0\r\n\r\n")
            assert b"Authorization Violation" in await reader.readline()
    finally:
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(
    ("user", "subject"),
    [
        ("gateway", "events.t.r"),
        ("gateway", "$JS.API.STREAM.CREATE.EVENTS"),
        ("gateway", "$JS.API.STREAM.DELETE.EVENTS"),
        ("gateway", "_INBOX_worker.x"),
        ("gateway", "control.beat.w.gone"),
        ("gateway", "$JS.ACK.TURNS.interactive.1.1.1.1.0"),
        ("worker", "control.cancel.r"),
        ("worker", "$JS.API.STREAM.PURGE.TURNS"),
        ("worker", "$JS.API.CONSUMER.CREATE.TURNS"),
    ],
)
async def test_nats_refuses_publishing_beyond_a_users_permissions(
    nats_server: NatsServer, user: str, subject: str
) -> None:
    """A user that publishes what is not its own is told so by the server."""
    async with connected(nats_server, user) as (client, errors), asyncio.timeout(DEADLINE):
        await client.publish(subject, b"")
        assert "permissions violation" in str(await errors.get()).lower()


@pytest.mark.parametrize(("user", "subject"), [("gateway", "events.>"), ("gateway", ">"), ("worker", "live.>")])
async def test_nats_refuses_subscribing_beyond_a_users_permissions(
    nats_server: NatsServer, user: str, subject: str
) -> None:
    """A user that subscribes to what is not its own is told so by the server."""
    async with connected(nats_server, user) as (client, errors), asyncio.timeout(DEADLINE):
        await client.subscribe(subject)
        assert "permissions violation" in str(await errors.get()).lower()


async def test_nats_lets_services_do_their_work(nats_server: NatsServer) -> None:
    """The gateway enqueues a turn, a worker fetches and acknowledges it, and stores an event that is republished."""
    async with (
        connected(nats_server, "provision") as (admin, _),
        connected(nats_server, "gateway") as (gateway, gateway_errors),
        connected(nats_server, "worker") as (worker, worker_errors),
        asyncio.timeout(DEADLINE),
    ):
        streams = admin.jetstream()
        await streams.add_stream(name="TURNS", subjects=["turns.>"], retention="workqueue")
        republish = nats.js.api.RePublish(src="events.>", dest="live.>")
        await streams.add_stream(name="EVENTS", subjects=["events.>"], allow_direct=True, republish=republish)
        await streams.add_consumer("TURNS", durable_name="interactive", ack_policy="explicit")

        live = await gateway.subscribe("live.>")
        await gateway.jetstream().publish("turns.interactive.t", b"turn")
        pull = await worker.jetstream().pull_subscribe_bind(consumer="interactive", stream="TURNS")
        [message] = await pull.fetch(1, timeout=5)
        await message.ack_sync()
        await worker.jetstream().publish("events.t.r", b"event")
        assert (await live.next_msg(timeout=5)).data == b"event"
        last = await gateway.request("$JS.API.DIRECT.GET.EVENTS", b'{"last_by_subj": "events.t.r"}', timeout=5)
        assert last.data == b"event"
        assert gateway_errors.empty()
        assert worker_errors.empty()


async def test_nats_keeps_messages_and_address_over_a_kill(nats_server: NatsServer) -> None:
    """What was acknowledged is there after a kill, at the same address."""
    url = nats_server.url
    async with connected(nats_server, "provision") as (client, _):
        await client.jetstream().add_stream(name="KEPT", subjects=["kept"])
        await client.jetstream().publish("kept", b"kept")
        await nats_server.kill()
        await nats_server.start()
    assert nats_server.url == url
    async with connected(nats_server, "provision") as (client, _):
        assert (await client.jetstream().stream_info("KEPT")).state.messages == 1


async def test_nats_secrets_stay_private(nats_server: NatsServer, data_dir: Path) -> None:
    """Passwords stand in files of their owner only, and on no command line."""
    for name in ("nats.conf", "passwords.json"):
        assert (data_dir / "nats" / name).stat().st_mode & 0o777 == 0o600
    password = json.loads((data_dir / "nats" / "passwords.json").read_text())["gateway"]
    assert password not in " ".join(psutil.Process(nats_server.pid).cmdline())
