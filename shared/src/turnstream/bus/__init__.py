"""The bus: NATS and JetStream. Nothing outside this package imports nats, and nothing in it knows HTTP or SQL."""

from turnstream.bus.answers import Answer
from turnstream.bus.bus import Bus
from turnstream.bus.dead_letters import DeadLetters, Filed
from turnstream.bus.stream_service import StreamService
from turnstream.bus.tail import Stored, Tail
from turnstream.bus.work_queue import Delivery, NoDelivery, WorkQueue

__all__ = [
    "Answer",
    "Bus",
    "DeadLetters",
    "Delivery",
    "Filed",
    "NoDelivery",
    "Stored",
    "StreamService",
    "Tail",
    "WorkQueue",
]
