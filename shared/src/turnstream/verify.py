"""Prove that a client has all events of a turn as they were stored: by their numbers, their count and their digest.

curl -N http://.../v1/turns/RESPONSE_ID/events | python -m turnstream.verify
"""

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from turnstream.digest import LogDigest
from turnstream.errors import IncompleteStreamError
from turnstream.events import TERMINAL


@dataclass(frozen=True, slots=True)
class Verified:
    """A turn's events are all there."""

    count: int  # of the events before the terminal one
    digest: str | None  # of those; None where the log had lost its beginning, and only the numbers prove anything


def verify(lines: Iterable[bytes | str]) -> Verified:
    """Check a turn's events from the first to the terminal one.

    `lines` are the events' JSON just as it came, or lines of server-sent events, of one connection or of several one
    after the other. Raises IncompleteStreamError with the first thing that is wrong.
    """
    digest, terminal = LogDigest(), None
    for payload in filter(None, map(_payload, lines)):
        event = _event(payload, digest.count)
        _expect_number(event, digest.count, ended=terminal is not None)
        if event["type"] in TERMINAL:
            terminal = event
        else:
            digest.add(payload)
    if terminal is None:
        raise IncompleteStreamError(f"there is no terminal event: the stream breaks off before event {digest.count}")
    return _verified(terminal, digest.shown())


def _payload(line: bytes | str) -> bytes:
    """Return the event's JSON on a line, or nothing if there is none."""
    line = (line.encode() if isinstance(line, str) else line).rstrip(b"\r\n")
    if line.startswith(b"data:"):
        return line.removeprefix(b"data:").removeprefix(b" ")
    return line if line.startswith(b"{") else b""


def _event(payload: bytes, expected: int) -> dict[str, Any]:
    try:
        event = json.loads(payload)
        number, kind = event["sequence_number"], event["type"]
    except (ValueError, LookupError, TypeError) as error:
        raise IncompleteStreamError(f"event {expected} is no event, or breaks off: {payload[:80]!r}") from error
    if kind == "error":
        raise IncompleteStreamError(f"the stream ends before event {number} with an error: {event.get('code')}")
    return dict(event)


def _expect_number(event: dict[str, Any], expected: int, *, ended: bool) -> None:
    number = event["sequence_number"]
    if ended:
        raise IncompleteStreamError(f"event {number} comes behind the terminal event {expected}")
    if number < expected:
        raise IncompleteStreamError(f"event {number} comes again, or too late: event {expected} is due")
    if number > expected:
        raise IncompleteStreamError(f"event {expected} is missing, or comes too late: event {number} is in its place")


def _verified(terminal: dict[str, Any], found: dict[str, Any]) -> Verified:
    log = terminal.get("log") or {}
    count, digest = log.get("count"), log.get("digest")
    if count != found["count"]:
        raise IncompleteStreamError(f"the log had {count} events before its end, and here are {found['count']}")
    if digest not in (None, found["digest"]):
        raise IncompleteStreamError(f"the log's digest was {digest}, and here it is {found['digest']}")
    return Verified(count, digest)


def main() -> None:
    """Check what comes on standard input; say on one line how it is, and end with status 1 if it is incomplete."""
    try:
        verified = verify(sys.stdin.buffer)
    except IncompleteStreamError as error:
        sys.exit(f"incomplete: {error}")
    proof = verified.digest or "by their numbers alone, since the log had lost its beginning"
    sys.stdout.write(f"complete: {verified.count} events and the terminal one, {proof}\n")


if __name__ == "__main__":
    main()
