"""Faults, chosen by the seed, one at a time and sometimes two; each heals what it has broken."""

import asyncio
import math
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from random import Random
from time import monotonic

import psutil
from support.infrastructure import Server
from support.nats_cluster import Clustered, NatsCluster

from chaos.fleet import Fleet
from chaos.network import Proxy
from chaos.record import Broken, Record
from turnstream.subjects import EVENTS, TURNS
from turnstream_local.child import Child

TWO_AT_ONCE = 0.15  # how often


@dataclass(frozen=True)
class Pace:
    """How long things take, from and to, in seconds."""

    down: tuple[float, float]  # a server that was killed or stopped
    pause: tuple[float, float]  # a process that was paused, or whose network was cut
    between: tuple[float, float]  # two faults
    wipes: bool  # whether NATS loses all that it holds, once


LONG = Pace(down=(0.1, 8), pause=(1, 30), between=(2, 6), wipes=True)
SHORT = Pace(down=(0.1, 1), pause=(1, 3), between=(1, 2.2), wipes=False)


@dataclass(frozen=True)
class Fault:
    """Something to be done to a target, of which not two are done at once."""

    target: str
    name: str
    run: Callable[[], Awaitable[None]]
    timed: bool = False  # whether it is a worker's kill, whose turns' recovery is timed


@dataclass
class Faults:
    """Breaks a fleet and its infrastructure until it is told to stop."""

    fleet: Fleet
    rng: Random
    pace: Pace
    record: Record  # where it writes down what it has broken
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Break and heal, with a rest in between; return when all is healed."""
        deck: list[Fault] = []
        timed = False
        while not await self._rest(long=timed):
            deck = deck or self._shuffled()
            chosen = [deck.pop()]
            others = [fault for fault in deck if fault.target != chosen[0].target]
            if others and self.rng.random() < TWO_AT_ONCE:
                chosen.append(others[-1])
                deck.remove(others[-1])
            if timed := chosen[0].timed and len(chosen) == 1:
                self.record.kills.append(monotonic())
            self.fleet.note(" and ".join(f"{fault.name} {fault.target}" for fault in chosen))
            await asyncio.gather(*map(self._break, chosen))

    async def _break(self, fault: Fault) -> None:
        begun = monotonic()
        try:
            await fault.run()
        finally:
            self.record.broken.append(Broken(fault.target, fault.name, begun, monotonic()))

    async def _rest(self, *, long: bool) -> bool:
        """Let everything recover for a while, or until the stop; return whether it has come."""
        shortest, longest = self.pace.between
        with suppress(TimeoutError):
            async with asyncio.timeout(longest if long else self.rng.uniform(shortest, longest)):
                return await self.stop.wait()
        return False

    def _time(self, bounds: tuple[float, float]) -> float:
        """Return a time between bounds, in seconds: more often a short one, since each length is as telling."""
        shortest, longest = bounds
        return shortest * math.pow(longest / shortest, self.rng.random())

    def _shuffled(self) -> list[Fault]:
        """Return every fault once, so that none is left out for long, and workers' kills, which are timed, twice."""
        menu: list[Fault] = []
        for worker in self.fleet.workers:
            menu += 2 * [self._kill_fault(worker, timed=True)] + self._process_faults(worker)
        for gateway in self.fleet.gateways:
            menu += [self._kill_fault(gateway.child), *self._process_faults(gateway.child)]
        infrastructure = self.fleet.infrastructure
        menu += self._server_faults("postgres", infrastructure.postgres)
        if isinstance(infrastructure, Clustered):
            menu += [self._leader_fault(infrastructure.cluster, stream) for stream in (EVENTS.name, TURNS.name)]
        else:
            menu += self._server_faults("nats", infrastructure.nats)
        if self.fleet.proxies:
            menu += [
                Fault("network", "reset", self._reset),
                Fault("network", "refuse", lambda: self._cut(Proxy.refuse)),
                Fault("network", "swallow", lambda: self._cut(Proxy.swallow)),
                Fault("network", "swallow", lambda: self._cut(Proxy.swallow)),
            ]
        self.rng.shuffle(menu)
        if self.pace.wipes and self.record.wiped is None:
            # Once, and soon: they are dealt from the end.
            menu.insert(-self.rng.randint(1, 4), Fault("nats", "wipe", infrastructure.wipe))
        return menu

    # Workers and gateways, which their keepers start again

    def _kill_fault(self, child: Child, *, timed: bool = False) -> Fault:
        return Fault(child.name, "kill -9", lambda: self._kill(child), timed)

    def _process_faults(self, child: Child) -> list[Fault]:
        return [
            Fault(child.name, "terminate", lambda: self.fleet.terminate(child)),
            Fault(child.name, "pause", lambda: self._pause(child)),
        ]

    async def _kill(self, child: Child) -> None:
        if child.pid:
            os.kill(child.pid, signal.SIGKILL)

    async def _pause(self, paused: Child | Server) -> None:
        if paused.pid is None:
            return
        with suppress(psutil.NoSuchProcess):  # it ended by itself
            first = psutil.Process(paused.pid)
            processes = [first, *first.children(recursive=True)]
            for process in processes:
                process.suspend()
            try:
                await asyncio.sleep(self._time(self.pace.pause))
            finally:
                for process in processes:
                    with suppress(psutil.NoSuchProcess):
                        process.resume()

    # Servers

    def _server_faults(self, name: str, server: Server) -> list[Fault]:
        return [
            Fault(name, "kill -9", lambda: self._take_down(server, server.kill)),
            Fault(name, "stop", lambda: self._take_down(server, server.stop)),
            Fault(name, "pause", lambda: self._pause(server)),
        ]

    async def _take_down(self, server: Server, how: Callable[[], Awaitable[object]]) -> None:
        await how()
        try:
            await asyncio.sleep(self._time(self.pace.down))
        finally:
            await server.start()

    def _leader_fault(self, cluster: NatsCluster, stream: str) -> Fault:
        async def run() -> None:
            leader = await cluster.leader(stream)
            fault = self.rng.choice(self._server_faults(leader.name, leader))
            self.fleet.note(f"{fault.name} {fault.target}")
            await fault.run()

        return Fault("nats", f"break the leader of {stream} in", run)

    # The network of one worker

    async def _reset(self) -> None:
        for proxy in self._some_proxies():
            proxy.reset()

    async def _cut(self, how: Callable[[Proxy], None]) -> None:
        async with self._healed(self._some_proxies()) as proxies:
            for proxy in proxies:
                how(proxy)
            await asyncio.sleep(self._time(self.pace.pause))
            if self.rng.random() < 1 / 2:  # else what was held back arrives
                for proxy in proxies:
                    proxy.reset()

    def _some_proxies(self) -> list[Proxy]:
        return self.rng.choice([self.fleet.proxies, *([proxy] for proxy in self.fleet.proxies)])

    @asynccontextmanager
    async def _healed(self, proxies: list[Proxy]) -> AsyncIterator[list[Proxy]]:
        try:
            yield proxies
        finally:
            for proxy in proxies:
                proxy.heal()
