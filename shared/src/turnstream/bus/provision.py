"""Create the streams and consumers that `subjects` lists, or bring them to what it says."""

import time
from dataclasses import replace

from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DiscardPolicy, RePublish, RetentionPolicy, StreamConfig
from nats.js.errors import NotFoundError

from turnstream.bus.connection import Connection
from turnstream.settings import Settings
from turnstream.subjects import CONSUMERS, STREAMS, Consumer, Stream

DEDUPLICATION = 300  # seconds a message id is remembered: longer than anything is tried again
SEQUENCES = 100_000  # a second that a stream may number, such that one that is made anew begins behind it
PULLS_WAITING = 2048  # pull requests that may wait at a consumer: one for each free place of each worker, at most


async def provision(settings: Settings, *, replicas: int, ack_wait: float) -> None:
    """Make the bus what `subjects` says. Running it again changes nothing.

    Each message is kept on `replicas` servers; work that is not acknowledged within `ack_wait` seconds comes again.
    """
    connection = await Connection(settings, "provision").open()
    try:
        jetstream = connection.client.jetstream()
        for stream in STREAMS:
            await _provision_stream(jetstream, _stream_config(stream, replicas))
        for consumer in CONSUMERS:
            # Adding a durable consumer that exists updates it.
            await jetstream.add_consumer(consumer.stream, _consumer_config(consumer, ack_wait))
    finally:
        await connection.close()


async def _provision_stream(jetstream: JetStreamContext, config: StreamConfig) -> None:
    try:
        await jetstream.update_stream(config)
    except NotFoundError:
        # What is remembered of a lost stream's messages, to acknowledge or to append behind, fits none of this one's.
        await jetstream.add_stream(replace(config, first_seq=int(time.time() * SEQUENCES)))
        # A server without nats-server's fix 6753 purges a stream at its start that is still configured to begin so.
        await jetstream.update_stream(config)


def _stream_config(stream: Stream, replicas: int) -> StreamConfig:
    return StreamConfig(
        name=stream.name,
        subjects=list(stream.subjects),
        retention=RetentionPolicy.WORK_QUEUE if stream.work_queue else RetentionPolicy.LIMITS,
        discard=DiscardPolicy.NEW if stream.discard_new else DiscardPolicy.OLD,
        max_age=stream.max_age,
        max_bytes=stream.max_bytes,
        num_replicas=replicas,
        allow_direct=True,
        duplicate_window=DEDUPLICATION,
        allow_msg_ttl=stream.message_ages,
        republish=RePublish(*stream.republish) if stream.republish else None,
    )


def _consumer_config(consumer: Consumer, ack_wait: float) -> ConsumerConfig:
    return ConsumerConfig(
        durable_name=consumer.name,
        filter_subject=consumer.subject,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=ack_wait,
        max_deliver=-1,
        max_ack_pending=-1,
        max_waiting=PULLS_WAITING,
    )
