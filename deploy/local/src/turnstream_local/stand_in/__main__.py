"""`python -m turnstream_local.stand_in`: run the stand-in model."""

import argparse
import gc
import socket
from collections.abc import Sequence

from turnstream_local.stand_in.answers import Defaults
from turnstream_local.stand_in.app import StandIn
from turnstream_local.stand_in.script import MAX_TOKENS
from turnstream_local.stand_in.server import BACKLOG, serve


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGINT or SIGTERM."""
    options = _parser().parse_args(arguments)
    try:
        listener = socket.create_server((options.host, options.port), backlog=BACKLOG)
    except OSError as error:
        raise SystemExit(f"cannot listen on {options.host}:{options.port}: {error.strerror}") from error
    port = listener.getsockname()[1]
    print(f"stand-in model at http://{options.host}:{port}/v1", flush=True)
    # What was imported lives for good; the collector need not walk it again in the middle of streams.
    gc.freeze()
    serve(StandIn(Defaults(delay_ms=options.delay_ms, tokens=options.tokens)), listener)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m turnstream_local.stand_in", description="Run a stand-in model.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8399, help="0 takes a free one and prints it (default: 8399)")
    parser.add_argument("--delay-ms", type=_delay, default=0.0, help="milliseconds before each token (default: 0)")
    parser.add_argument("--tokens", type=_tokens, help="tokens of each text (default: as many as the text has)")
    return parser


def _delay(text: str) -> float:
    if not 0 <= (milliseconds := float(text)) <= 3_600_000:  # noqa: PLR2004 - an hour
        raise argparse.ArgumentTypeError("must be from 0 to an hour")
    return milliseconds


def _tokens(text: str) -> int:
    if not 0 <= (count := int(text)) <= MAX_TOKENS:
        raise argparse.ArgumentTypeError(f"must be from 0 to {MAX_TOKENS}")
    return count


if __name__ == "__main__":
    main()
