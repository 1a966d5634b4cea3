"""Create the streams and consumers that `subjects` lists, or bring them to what it says."""

import time
from dataclasses import dataclass, replace

from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DiscardPolicy, RePublish, RetentionPolicy, StreamConfig
from nats.js.errors import NotFoundError

from turnstream.bus.connection import Connection
from turnstream.logs import log
from turnstream.settings import Settings
from turnstream.subjects import CONSUMERS, STREAMS, Consumer, Stream

DEDUPLICATION = 300  # seconds a message id is remembered: longer than anything is tried again
SEQUENCES = 100_000  # a second that a stream may number, such that one that is made anew begins behind it
PULLS_WAITING = 2048  # pull requests that may wait at a consumer: one for each free place of each worker, at most


@dataclass(frozen=True, slots=True)
class Depth:
    """How many messages a work queue takes before it refuses more; those that are being worked on count too."""

    per_subject: int  # which is a tenant's
    whole: int


async def provision(settings: Settings, *, replicas: int, ack_wait: float, depth: Depth) -> None:
    """Make the bus what `subjects` says. Running it again changes nothing.

    Each message is kept on `replicas` servers; work that is not acknowledged within `ack_wait` seconds comes again.
    """
    connection = await Connection(settings, "provision").open()
    try:
        jetstream = connection.client.jetstream()
        for stream in STREAMS:
            config = _stream_config(stream, replicas)
            if stream.work_queue:
                config = config.evolve(
                    max_msgs=depth.whole,
                    max_msgs_per_subject=await _safe_limit(jetstream, stream.name, depth.per_subject),
                    discard_new_per_subject=True,
                )
            await _provision_stream(jetstream, config)
        for consumer in CONSUMERS:
            # Adding a durable consumer that exists updates it.
            await jetstream.add_consumer(consumer.stream, _consumer_config(consumer, ack_wait))
    finally:
        await connection.close()


async def _safe_limit(jetstream: JetStreamContext, stream: str, wanted: int) -> int:
    """Return how many messages a subject may have: as wanted, or as many as the fullest one has.

    When the limit is set to less than there is, the server drops the oldest, although it is to refuse the newest.
    """
    try:
        info = await jetstream.stream_info(stream, subjects_filter=">")
    except NotFoundError:
        return wanted
    deepest = max((info.state.subjects or {}).values(), default=0)
    if deepest > wanted:
        log.warning("provision.queue_is_deeper", stream=stream, depth=deepest, wanted=wanted)
    return max(deepest, wanted)


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
        max_msgs_per_subject=stream.max_per_subject,
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
