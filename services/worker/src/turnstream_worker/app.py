"""The worker's composition root: builds what it is made of and runs it."""

import asyncio

from turnstream import subjects
from turnstream.bus import Bus, StreamService
from turnstream.database import Database
from turnstream.fetch import Fetcher
from turnstream.process import notify_ready
from turnstream.secrets import Secrets
from turnstream.store import Store
from turnstream_worker.attachments import AttachmentLimits, Attachments
from turnstream_worker.engine import Engine
from turnstream_worker.model_calls import ModelCalls
from turnstream_worker.pass_through import PassThrough
from turnstream_worker.questions import Questions
from turnstream_worker.run_turn import TurnRunner
from turnstream_worker.sealing import Sealing
from turnstream_worker.settings import WorkerSettings
from turnstream_worker.stack import open_stack
from turnstream_worker.toolboxes import Toolboxes
from turnstream_worker.tools.tools import Tools
from turnstream_worker.worker import Worker


async def serve(settings: WorkerSettings, stop: asyncio.Event) -> None:
    """Run a worker until `stop` is set."""
    stack = await open_stack(settings)
    fetcher, tools = Fetcher(settings), Tools(settings)
    bus = await Bus.connect(settings, "worker")
    database = await Database.connect(settings)
    store = Store(database)
    try:
        limits = AttachmentLimits(settings.attachments, settings.attachment_limit, settings.attachments_limit)
        models = ModelCalls(stack, Sealing(await store.secret("sealing")), settings)
        toolboxes = Toolboxes(tools, Secrets(settings.secrets_key), settings.max_journal)
        engine = Engine(models, Attachments(fetcher, limits), toolboxes, settings)
        questions = Questions(engine, store, settings.max_history)
        await bus.serve("stack", {"models": lambda _: stack.models(), "providers": lambda _: stack.providers()})
        calls = [
            await bus.serve_streams(subjects.INFERENCE, PassThrough(stack).answer, settings.pass_through),
            await bus.serve_streams(subjects.QUESTIONS, questions.answer, settings.pass_through),
        ]
        notify_ready()
        async with asyncio.TaskGroup() as running:
            running.create_task(Worker(bus, store, TurnRunner(bus, store, engine, settings), settings).run(stop))
            running.create_task(_drain(calls, stop, settings.grace))
    finally:
        await bus.close()
        await database.close()
        await stack.close()
        await tools.close()
        fetcher.close()


async def _drain(calls: list[StreamService], stop: asyncio.Event, grace: float) -> None:
    await stop.wait()
    await asyncio.gather(*(service.stop(grace) for service in calls))
