"""What the handlers rely on, held against the bus in memory and against a real NATS server alike."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from turnstream import subjects
from turnstream.bus import Bus, Delivery, Stored, Tail, WorkQueue
from turnstream.bus.tail import TAIL_LIMIT
from turnstream.errors import BusUnavailableError, EventTooLargeError, FencedError
from turnstream.events import Batch, encode
from turnstream.ids import new_id
from turnstream.subjects import INTERACTIVE

from .conftest import Buses
