"""The worker's composition root: builds what it is made of and runs it."""

import asyncio

from turnstream.bus import Bus
from turnstream.database import Database
from turnstream.fetch import Fetcher
from turnstream.process import notify_ready
from turnstream.store import Store
from turnstream_worker.attachments import AttachmentLimits, Attachments
from turnstream_worker.engine import Engine
from turnstream_worker.run_turn import TurnRunner
from turnstream_worker.sealing import Sealing
from turnstream_worker.settings import WorkerSettings
from turnstream_worker.stack import open_stack
from turnstream_worker.worker import Worker


async def serve(settings: WorkerSettings, stop: asyncio.Event) -> None:
    """Run a worker until `stop` is set."""
    stack = await open_stack(settings)
    fetcher = Fetcher(settings)
    bus = await Bus.connect(settings, "worker")
    database = await Database.connect(settings)
    store = Store(database)
    try:
        await bus.serve("stack", {"models": stack.models})
        notify_ready()
        limits = AttachmentLimits(settings.attachments, settings.attachment_limit, settings.attachments_limit)
        engine = Engine(stack, Attachments(fetcher, limits), Sealing(await store.secret("sealing")), settings)
        await Worker(bus, store, TurnRunner(bus, store, engine, settings), settings).run(stop)
    finally:
        await bus.close()
        await database.close()
        await stack.close()
        fetcher.close()
