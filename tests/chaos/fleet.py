"""The processes that a run breaks: gateways and workers that are started again whenever they end, and their network."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field

from support.deployment import Deployment, Gateway, deployed
from support.infrastructure import Infrastructure
from support.tool_turns import ALLOWED, ToolServer, calling

from chaos.callers import AT_ONCE, PARALLEL
from chaos.network import Proxy, nats_proxy, postgres_proxy, through
from turnstream_local.child import Child, exit_text
from turnstream_local.errors import ChildFailedError

# Beside the deployment's own short times. Begun as often as here no turn would ever be.
SETTINGS = {
    "TURNSTREAM_KEEPALIVE": "1",
    "TURNSTREAM_WATCHDOG_INTERVAL": "1",
    "TURNSTREAM_MAX_ATTEMPTS": "50",
}
CHARGING = 0.8  # seconds that a tool takes, so that it is found in the middle
RESTART = 0.2  # seconds until what has ended is started again
LEAVES_WITHIN = 25.0  # seconds after SIGTERM; the workers' grace and their last words are less

type Note = Callable[[str], None]


@dataclass
class Fleet:
    """What runs, to be broken."""

    deployment: Deployment
    tools: ToolServer
    note: Note
    gateways: list[Gateway] = field(default_factory=list)
    workers: list[Child] = field(default_factory=list)
    proxies: list[Proxy] = field(default_factory=list)  # of the last worker: to NATS, to Postgres

    @property
    def infrastructure(self) -> Infrastructure:
        """What it runs on."""
        return self.deployment.infrastructure

    @property
    def urls(self) -> list[str]:
        """The gateways' addresses."""
        return [gateway.url for gateway in self.gateways]

    @property
    def children(self) -> list[Child]:
        """All that is kept running."""
        return [*self.workers, *(gateway.child for gateway in self.gateways)]

    async def keep(self, child: Child) -> None:
        """Start a process again whenever it has ended, as a supervisor does."""
        while True:
            code = await child.wait()
            self.note(f"{child.name} {exit_text(code)}")
            await asyncio.sleep(RESTART)
            while not await self._starts(child):
                pass
            self.note(f"{child.name} is ready again")

    async def terminate(self, child: Child) -> None:
        """Ask a process to end, and wait until it has; kill one that does not, which is worth a note."""
        pid = child.pid
        if pid is None:
            return
        os.kill(pid, signal.SIGTERM)
        try:
            async with asyncio.timeout(LEAVES_WITHIN):
                while child.pid == pid:  # noqa: ASYNC110 - its keeper waits for it
                    await asyncio.sleep(0.1)
        except TimeoutError:
            self.note(f"{child.name} did not end on SIGTERM, and is killed")
            os.kill(pid, signal.SIGKILL)

    async def healed(self, within: float) -> None:
        """Wait until everything runs again, for so many seconds at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                while any(child.pid is None for child in self.children):  # noqa: ASYNC110 - their keepers start them
                    await asyncio.sleep(0.1)

    async def _starts(self, child: Child) -> bool:
        try:
            await child.start()
        except ChildFailedError as error:
            self.note(str(error))
            await asyncio.sleep(RESTART)
            return False
        return True


@asynccontextmanager
async def running(
    infrastructure: Infrastructure, note: Note, *, workers: int, gateways: int, network: bool
) -> AsyncIterator[Fleet]:
    """Yield gateways and workers that are kept running; with `network`, the last worker's can be cut."""
    async with deployed(infrastructure) as deployment, AsyncExitStack() as stack:
        places: list[dict[str, str]] = [{} for _ in range(workers)]
        proxies: list[Proxy] = []
        if network:
            nats, postgres = nats_proxy(infrastructure.nats_url("worker")), postgres_proxy(infrastructure.dsn)
            proxies = [await stack.enter_async_context(proxy) for proxy in (nats, postgres)]
            places[-1] = {
                "TURNSTREAM_NATS_URL": through(infrastructure.nats_url("worker"), nats),
                "TURNSTREAM_POSTGRES_DSN": through(infrastructure.dsn, postgres),
            }
        tools, working, serving = await asyncio.gather(
            _tools(deployment),
            asyncio.gather(*(deployment.worker(embedded=False, **SETTINGS, **ALLOWED, **place) for place in places)),
            asyncio.gather(*(deployment.gateway(**SETTINGS) for _ in range(gateways))),
        )
        fleet = Fleet(deployment, tools, note, serving, working, proxies)
        keepers = [asyncio.create_task(fleet.keep(child), name=f"keep {child.name}") for child in fleet.children]
        try:
            yield fleet
        finally:
            for keeper in keepers:
                keeper.cancel()
            results = await asyncio.gather(*keepers, return_exceptions=True)
            for result in results:
                if not isinstance(result, asyncio.CancelledError):
                    note(f"a keeper broke: {result!r}")


async def _tools(deployment: Deployment) -> ToolServer:
    tools = await ToolServer.start(deployment)
    await tools.delay(CHARGING)
    await deployment.script(PARALLEL, {"tool_calls": AT_ONCE * calling("charge", order="one")["tool_calls"]})
    return tools
