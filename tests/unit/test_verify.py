"""A client's proof that it has all events of a turn, as they were stored."""

import subprocess
import sys
from hashlib import sha256

import pytest

from turnstream.digest import LogDigest
from turnstream.errors import IncompleteStreamError
from turnstream.events import TERMINAL, encode, sse_frame
from turnstream.verify import Verified, verify

BEFORE = [encode("response.created", 0, {"response": {}}), encode("response.x", 1, {"delta": "é\n"})]
DIGEST = "sha256:" + sha256(BEFORE[0] + b"\n" + BEFORE[1] + b"\n").hexdigest()
LOG = {"count": 2, "digest": DIGEST}


def ended(**log: object) -> list[bytes]:
    """Return the events of a turn, with changes to what the terminal one says of the log."""
    return [*BEFORE, encode("response.completed", 2, {"response": {}, "log": {**LOG, **log}})]


LINES = ended()
STREAM = b": keepalive\n\n" + b"".join(b"id: 7\n" + sse_frame(line) for line in LINES)


def test_what_the_digest_is_over() -> None:
    """The digest is the SHA-256 of the events' lines, each with its line break, and the count is of the same events."""
    digest = LogDigest()
    for line in BEFORE:
        digest.add(line)
    assert digest.shown() == LOG


def test_log_with_a_hole() -> None:
    """A log that does not go on with the next event has no digest any more, and its count is the number to come."""
    digest = LogDigest()
    digest.go_on_at(0)
    assert digest.shown()["digest"]
    digest.go_on_at(5)
    digest.add(BEFORE[0])
    assert digest.shown() == {"count": 6, "digest": None}


@pytest.mark.parametrize(
    "lines",
    [
        LINES,
        [line.decode() for line in LINES],
        STREAM.splitlines(keepends=True),
        STREAM.replace(b"\n", b"\r\n").splitlines(keepends=True),
        STREAM.decode().split("\n"),
        [b"data:" + line for line in LINES],
    ],
    ids=["payloads", "texts", "lines", "network lines", "lines of text", "no blank"],
)
def test_whole(lines: list[bytes | str]) -> None:
    """Events that are all there are proven, whether as payloads or as lines of a stream, as bytes or as text."""
    assert verify(lines) == Verified(2, DIGEST)


@pytest.mark.parametrize("kind", TERMINAL)
def test_every_end(kind: str) -> None:
    """Each of the terminal events is an end, also one that comes first."""
    log = LogDigest().shown()
    assert verify([encode(kind, 0, {"log": log})]) == Verified(0, log["digest"])


def test_log_that_lost_its_beginning() -> None:
    """Where the log could not be digested the numbers are the proof, and the result says so."""
    assert verify(ended(digest=None)) == Verified(2, None)


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ([], "no terminal event: the stream breaks off before event 0"),
        (LINES[:2], "no terminal event: the stream breaks off before event 2"),
        (LINES[1:], "event 0 is missing"),
        ([LINES[0], LINES[2]], "event 1 is missing, or comes too late: event 2 is in its place"),
        ([LINES[0], *LINES], "event 0 comes again, or too late: event 1 is due"),
        ([LINES[1], LINES[0], LINES[2]], "event 0 is missing, or comes too late: event 1 is in its place"),
        ([*LINES, LINES[2]], "event 2 comes behind the terminal event"),
        ([LINES[0].replace(b"{}", b"{ }"), *LINES[1:]], "the log's digest was sha256:"),
        (ended(count=3), "the log had 3 events before its end, and here are 2"),
        ([*BEFORE, encode("response.completed", 2, {})], "the log had None events"),
        ([LINES[0], encode("error", 1, {"code": "events_lost"})], "before event 1 with an error: events_lost"),
        ([b"data: [DONE]"], "event 0 is no event"),
        ([LINES[0], LINES[1][:30]], "event 1 is no event, or breaks off"),
    ],
)
def test_incomplete(lines: list[bytes], complaint: str) -> None:
    """Whatever is missing, repeated, out of order or changed is named, with its number."""
    with pytest.raises(IncompleteStreamError, match=complaint):
        verify(lines)


@pytest.mark.parametrize(
    ("stream", "status", "said"),
    [
        (STREAM, 0, f"complete: 2 events and the terminal one, {DIGEST}\n"),
        (
            STREAM.partition(b"event: response.completed")[0],
            1,
            "incomplete: there is no terminal event: the stream breaks off before event 2\n",
        ),
    ],
)
def test_command(stream: bytes, status: int, said: str) -> None:
    """The command says on one line how a stream is, and its status says it to a script."""
    command = [sys.executable, "-m", "turnstream.verify"]
    ran = subprocess.run(command, input=stream, capture_output=True, check=False, timeout=30)
    assert (ran.returncode, (ran.stdout + ran.stderr).decode()) == (status, said)
