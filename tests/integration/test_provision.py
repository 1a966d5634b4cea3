"""The provisioning step decides how deep the queue may be, and loses nothing by it."""

from collections.abc import AsyncIterator

import nats
import pytest
from nats.js import JetStreamContext
from support.infrastructure import Infrastructure

SUBJECT = "turns.interactive.acme"


@pytest.fixture
async def jetstream(breakable: Infrastructure) -> AsyncIterator[JetStreamContext]:
    """JetStream with all rights, and an empty queue that is as deep as ever in the end."""
    client = await nats.connect(breakable.nats_url("provision"))
    yield client.jetstream()
    await client.jetstream().purge_stream("TURNS")
    await breakable.provision()
    await client.close()


async def limits(jetstream: JetStreamContext) -> tuple[int | None, int | None]:
    """Return how many messages the queue takes of a tenant, and in all."""
    config = (await jetstream.stream_info("TURNS")).config
    assert config.discard_new_per_subject
    return config.max_msgs_per_subject, config.max_msgs


async def test_depth(breakable: Infrastructure, jetstream: JetStreamContext) -> None:
    """The queue's depth is what the settings say, and can be changed."""
    assert await limits(jetstream) == (1000, 20_000)
    await breakable.provision(queue_depth_per_tenant=2, queue_depth=3)
    assert await limits(jetstream) == (2, 3)


async def test_a_lower_limit_drops_nothing(breakable: Infrastructure, jetstream: JetStreamContext) -> None:
    """A queue that is deeper than it may be from now on keeps all that was accepted, until it has become shorter."""
    for number in range(5):
        await jetstream.publish(SUBJECT, b"%d" % number)
    await breakable.provision(queue_depth_per_tenant=2, queue_depth=3)
    assert (await jetstream.stream_info("TURNS")).state.messages == 5
    assert await limits(jetstream) == (5, 3)
    await jetstream.purge_stream("TURNS")
    await breakable.provision(queue_depth_per_tenant=2, queue_depth=3)
    assert await limits(jetstream) == (2, 3)


async def test_one_letter_for_each_turn(jetstream: JetStreamContext) -> None:
    """Dead letters are kept for thirty days, in a stream that is bounded, one of each turn."""
    config = (await jetstream.stream_info("DEAD")).config
    assert (config.max_age, config.max_msgs_per_subject) == (30 * 86_400, 1)
    assert config.max_bytes
    assert config.max_bytes > 0
