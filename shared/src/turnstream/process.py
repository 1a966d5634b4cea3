"""Run a service's process: settings, logs, signals, readiness. A service that ends by itself has failed."""

import asyncio
import gc
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable

import uvloop

from turnstream import logs
from turnstream.logs import log
from turnstream.settings import Settings

type Serve[S: Settings] = Callable[[S, asyncio.Event], Awaitable[None]]


def run[S: Settings](service: str, settings: S, serve: Serve[S]) -> None:
    """Run `serve(settings, stop)` until SIGTERM or SIGINT sets `stop` and it has returned; then exit 0.

    Anything that `serve` raises is logged, and the process exits 1 so that its supervisor starts it anew.
    """
    logs.configure(service, settings.log_level)
    sys.exit(uvloop.run(_supervised(settings, serve)))


async def _supervised[S: Settings](settings: S, serve: Serve[S]) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        await serve(settings, stop)
    except Exception:  # noqa: BLE001 - logged with its trace, and the process ends
        log.exception("process.failed")
        sys.stdout.flush()
        sys.stderr.flush()
        # At once: threads that a library has left behind would keep a process that does nothing any more.
        os._exit(1)
    log.info("process.stopped")
    return 0


def notify_ready() -> None:
    """Tell the supervisor that this process is ready, by the sd_notify protocol (systemd's `NOTIFY_SOCKET`)."""
    # What was built until now stays: the collector need not walk through all of Llama Stack again and again.
    gc.collect()
    gc.freeze()
    log.info("process.ready")
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    # A leading @ names Linux's abstract namespace, where the first byte is a zero.
    path = "\0" + address[1:] if address.startswith("@") else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.sendto(b"READY=1", path)
