"""Processes of the local system, and what stands in for Turnstream's own."""

import psutil

DEADLINE = 60.0  # seconds until a condition must hold

# A process of each kind, as far as the supervisor can tell them from the real ones.
STUB = """
import asyncio, json, os, signal, socket, sys

EVENTS = [
    {"type": "response.created"},
    {"type": "response.output_text.delta", "delta": "Once upon "},
    {"type": "response.output_text.delta", "delta": "a time"},
    {"type": "response.completed"},
]

async def answer(reader, writer):
    request = await reader.readuntil(b"\\r\\n\\r\\n")
    for line in request.lower().split(b"\\r\\n"):
        if line.startswith(b"content-length:"):
            await reader.readexactly(int(line.split(b":")[1]))
    writer.write(b"HTTP/1.0 200 OK\\r\\n\\r\\n")
    if request.startswith(b"POST"):
        for number, event in enumerate(EVENTS):
            event["sequence_number"] = number * int(os.environ.get("STEP", "1"))
            writer.write(b"event: %s\\ndata: %s\\n\\n" % (event["type"].encode(), json.dumps(event).encode()))
    else:
        writer.write(b'{"data": [{"id": "embedder", "model_type": "embedding"}, {"id": "stub"}]}')
    await writer.drain()
    writer.close()

async def main(kind, port):
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    if port:
        await asyncio.start_server(answer, "127.0.0.1", int(port))
    if kind != "stand-in":
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
    await stop.wait()

kind = sys.argv[1]
port = {"gateway": os.environ.get("TURNSTREAM_HTTP_PORT"), "stand-in": sys.argv[-1]}.get(kind)
if kind != "provision":
    asyncio.run(main(kind, port))
"""


def alive(process: psutil.Process) -> bool:
    """Tell whether a process still runs."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
