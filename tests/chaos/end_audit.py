"""The audit of how turns end that only a fault ends, or keeps from ending, as they asked to be treated."""

from collections.abc import Iterator

from chaos.finding import Finding
from chaos.record import Posted, Record

AFTERMATH = 5.0  # seconds in which a fault that is healed still tells


def audit_ends(record: Record) -> Iterator[Finding]:
    """Find turns that went on though nobody read them, that were given up for nothing, or without a dead letter."""
    for posted in record.turns:
        if posted.ended and posted.body.get("on_disconnect") == "cancel":
            yield from _left(posted, record)
        if posted.ended and posted.ended["status"] == "failed":
            yield from _given_up(posted, record)
    given_up = {response["id"] for response in record.listed if response["status"] == "failed"}
    for letter in record.letters:
        if letter["id"] not in given_up:
            yield Finding("lost", letter["id"], "there is a dead letter about it, and it has not failed")


def _left(posted: Posted, record: Record) -> Iterator[Finding]:
    """Find that a turn was not cancelled when its readers went, if no fault has kept the gateway from it."""
    assert posted.ended
    if posted.left is None or posted.ended["status"] == "cancelled":
        return
    decided = posted.left + posted.body["disconnect_grace"] + AFTERMATH
    faults = [fault for fault in record.broken if not fault.target.startswith(("worker", "network"))]
    if not any(fault.at <= decided and fault.until + AFTERMATH >= posted.left for fault in faults):
        yield Finding(
            "lost", posted.name, "it went on to its end, though its readers had gone and it was to be cancelled"
        )


def _given_up(posted: Posted, record: Record) -> Iterator[Finding]:
    """Find that a turn failed otherwise than by its only attempt, by one that nothing has hit, or in silence."""
    assert posted.ended
    if (posted.ended["error"] or {}).get("code") != "max_attempts":
        yield Finding("lost", posted.name, f"it failed: {posted.ended['error']}")
        return
    arrivals = [came for reading in posted.readings for came in reading.arrivals]
    begun, ended = min(arrivals, default=0.0), max(arrivals, default=float("inf"))
    # A worker that is told to stop hands its turns over, and uses no attempt up; a gateway's fault is no turn's.
    faults = [fault for fault in record.broken if fault.how != "terminate" and not fault.target.startswith("gateway")]
    if not any(fault.at <= ended and fault.until + AFTERMATH >= begun for fault in faults):
        yield Finding("lost", posted.name, "it was given up, and none of its workers had died")
    attempts = [letter["attempts"] for letter in record.letters if letter["id"] == posted.id]
    lost = any(fault.how == "wipe" and fault.until >= begun for fault in record.broken)
    if attempts != [posted.body.get("max_attempts")] and not (lost and not attempts):
        yield Finding("lost", posted.name, f"it was given up, and its dead letters are about {attempts} attempts")
