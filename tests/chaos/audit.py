"""The audit: what a record of turns says about the promise that nothing is lost, repeated or left open."""

from collections.abc import Iterator
from typing import Any

from support.event_order import disorder
from support.reader import NOTHING, tally

from chaos.call_audit import audit_calls
from chaos.end_audit import audit_ends
from chaos.finding import Finding
from chaos.record import ENDED, Posted, Reading, Record
from chaos.talk_audit import audit_talks
from turnstream.errors import IncompleteStreamError
from turnstream.verify import verify

WIPED = {"events_expired", "events_lost"}  # codes that tell a reader that what it reads is no longer kept


def audit(record: Record) -> list[Finding]:
    """Return every promise that was not kept, in no turn's favour."""
    return [
        *(finding for posted in record.turns for finding in _turn(posted, record.wiped)),
        *audit_ends(record),
        *audit_talks(record),
        *_listed(record),
        *audit_calls(record),
    ]


# A turn, as it was stored and as it was read


def _turn(posted: Posted, wiped: float | None) -> Iterator[Finding]:
    if posted.id is None:
        yield Finding("open", posted.name, "it was never accepted, though asked for to the end")
        return
    for oddity in posted.oddities:
        yield Finding("lost", posted.name, oddity)
    readings = [*posted.readings, *([] if posted.unstored else [posted.whole])]
    # Who was told of a wipe is let go; what is stored is looked at.
    told = [reading for reading in readings if wiped is not None and reading.error in WIPED]
    ended = posted.ended
    if ended is None:
        if not (posted.unstored and told):
            yield Finding("open", posted.name, f"it is stored as {posted.stored and posted.stored.get('status')}")
        return
    if ended["status"] not in posted.may_end:
        yield Finding("lost", posted.name, f"it ended as {ended['status']}: {ended['error']}")
    if posted.unstored and posted.stored:
        yield Finding("open", posted.name, "it is kept, and was not to be")
    if ended["status"] == "completed" and posted.tokens is not None:
        yield from _tokens(posted.name, ended, posted.tokens)
    for reading in readings:
        if reading not in told:
            yield from _reading(posted, reading, wiped)


def _tokens(turn: str, ended: dict[str, Any], tokens: int) -> Iterator[Finding]:
    messages = [item for item in ended["output"] if item["type"] == "message"]
    said = len(messages[-1]["content"][0]["text"].split()) if messages else 0
    if said != tokens:
        yield Finding("lost", turn, f"{said} of {tokens} tokens are stored")
    if len(messages) > 1:
        yield Finding("repeated", turn, f"{len(messages)} messages are stored")


def _reading(posted: Posted, reading: Reading, wiped: float | None) -> Iterator[Finding]:
    if reading.error:
        yield Finding("lost", posted.name, f"a reader was told {reading.error}")
    if not reading.events:
        yield Finding("open", posted.name, "a reader got nothing at all")
        return
    counted = tally([reading])
    if counted.lost:
        yield Finding("lost", posted.name, f"{counted.lost} events never came to a reader")
    if counted.repeated:
        yield Finding("repeated", posted.name, f"{counted.repeated} events came again to a reader")
    if counted.open:
        yield Finding("open", posted.name, f"{counted.open} items or readers were left open")
    if counted == NOTHING:
        yield from _whole_reading(posted, reading, wiped)


def _whole_reading(posted: Posted, reading: Reading, wiped: float | None) -> Iterator[Finding]:
    for complaint in disorder(reading.events):
        yield Finding("lost", posted.name, f"out of order: {complaint}")
    try:
        verify(reading.lines)
    except IncompleteStreamError as error:
        yield Finding("lost", posted.name, f"what a reader got does not prove itself: {error}")
    if reading.response != posted.ended:
        yield Finding("lost", posted.name, "its last event and what is stored do not agree")
    # One that has ended and is not known to have, as its worker died just then, is given another log for a lost one.
    other_log = wiped is not None and max(reading.arrivals, default=wiped) < wiped
    if posted.whole.ended and reading.events != posted.whole.events and not other_log:
        yield Finding("lost", posted.name, "two readers read different events")
    messages = (item for item in reading.response["output"] if item["type"] == "message")
    if any(reading.text_of(item["id"]) != item["content"][0]["text"] for item in messages):
        yield Finding("lost", posted.name, "the deltas do not add up to its text")


# All that there is


def _listed(record: Record) -> Iterator[Finding]:
    """Find turns that nobody knows of: what a client was refused, or did not hear of, must end as well, and be one."""
    known = {posted.id for posted in record.turns}
    ids_of: dict[str, set[str]] = {}
    for response in record.listed:
        key = response["metadata"].get("key", "")
        ids_of.setdefault(key, set()).add(response["id"])
        if response["id"] not in known and response["status"] not in ENDED:
            yield Finding("open", f"{response['id']} ({key})", f"it is listed as {response['status']}")
    for key, ids in ids_of.items():
        if len(ids) > 1:
            yield Finding("repeated", ", ".join(sorted(ids)), f"the key {key} has begun {len(ids)} turns")
    listed = {response["id"] for response in record.listed}
    for posted in record.turns:
        if posted.id and posted.id not in listed and not posted.unstored:
            yield Finding("lost", posted.name, "it is not listed")
        if posted.id in listed and posted.unstored:
            yield Finding("open", posted.name, "it is listed, and was not to be kept")
