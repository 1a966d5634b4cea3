"""The load client, as a process of its own: many streamed turns at once, with as little work per token as can be.

Nothing is parsed before the last turn has ended. The same client loads every system.
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Self

import uvloop

from bench.connection import Connection, Exchange
from bench.spread import Spread
from bench.turn_reader import StreamedTurn, read_turn

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Job:
    """What to do."""

    port: int
    model: str
    turns: int
    clients: int  # turns that run at a time
    tokens: int  # of each answer
    delay_ms: int  # between two tokens
    stamped: bool  # each token is the time of its sending
    patience: float  # seconds, for all turns together

    @property
    def request(self) -> bytes:
        """The bytes that ask for one turn."""
        directive = f"[stand-in tokens={self.tokens} delay_ms={self.delay_ms}{' stamp=1' if self.stamped else ''}]"
        text = f"{directive} Tell me a short story."
        body = json.dumps({"model": self.model, "input": text, "stream": True}).encode()
        head = (
            f"POST /v1/responses HTTP/1.1\r\nHost: {HOST}:{self.port}\r\nAccept: text/event-stream\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


@dataclass(frozen=True)
class Outcome:
    """How it went."""

    turns: int
    complete: int  # turns of which every token and the completion came
    seconds: float  # from the first request to the end of the last turn
    first_token: Spread | None  # from a request to the first text, in ms
    lag: Spread | None  # from a token's sending by the model to its arrival here, in ms
    client_cpu: float  # seconds that this process took
    problem: str | None  # the end of the first incomplete turn's body

    @property
    def rate(self) -> float:
        """Complete turns a second."""
        return self.complete / self.seconds

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what the process wrote."""
        fields = json.loads(text)
        spreads = {name: Spread(**fields[name]) if fields[name] else None for name in ("first_token", "lag")}
        return cls(**{**fields, **spreads})


async def run(job: Job) -> Outcome:
    """Do the job and say how it went; what has not ended in time is incomplete."""
    connections = await asyncio.gather(*(Connection.open(HOST, job.port) for _ in range(job.clients)))
    request, left = job.request, iter(range(job.turns))
    exchanges: list[Exchange] = []
    cpu, started = time.process_time(), time.perf_counter()
    with suppress(TimeoutError):
        async with asyncio.timeout(job.patience):
            await asyncio.gather(
                *(_client(connection, job.port, request, left, exchanges) for connection in connections)
            )
    return _outcome(job, exchanges, time.perf_counter() - started, time.process_time() - cpu)


async def _client(
    connection: Connection, port: int, request: bytes, left: Iterator[int], exchanges: list[Exchange]
) -> None:
    try:
        for _ in left:
            if connection.closed:
                connection = await Connection.open(HOST, port)
            exchanges.append(await connection.exchange(request))
    finally:
        connection.close()


def _outcome(job: Job, exchanges: list[Exchange], seconds: float, cpu: float) -> Outcome:
    epoch = time.time() - time.perf_counter()
    first_tokens, lags, problems = [], [], []
    for exchange in exchanges:
        turn = read_turn(exchange.pieces)
        if not turn.complete(job.tokens):
            problems.append(_problem(turn, exchange))
            continue
        first_tokens.append(turn.tokens[0].arrival - exchange.started)
        lags += turn.lags(epoch) if job.stamped else []
    return Outcome(
        turns=job.turns,
        complete=len(first_tokens),
        seconds=seconds,
        first_token=Spread.of(first_tokens),
        lag=Spread.of(lags),
        client_cpu=cpu,
        problem=problems[0] if problems else None,
    )


def _problem(turn: StreamedTurn, exchange: Exchange) -> str:
    body = b"".join(piece for _, piece in exchange.pieces)
    return f"{len(turn.tokens)} tokens, last event {turn.last_event}: {body[-500:].decode(errors='replace')}"


def main() -> None:
    """Read the job from the command line, write the outcome to the standard output."""
    fields: dict[str, Any] = json.loads(sys.argv[1])
    try:
        outcome = uvloop.run(run(Job(**fields)))
    except OSError as error:
        sys.exit(f"{error}, on port {fields['port']}")
    print(json.dumps(asdict(outcome)))


if __name__ == "__main__":
    main()
