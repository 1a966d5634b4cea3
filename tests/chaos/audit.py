"""The audit: what a record of turns says about the promise that nothing is lost, repeated or left open."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from support.event_order import disorder
from support.reader import NOTHING, tally

from chaos.record import Posted, Reading, Record, Talk
from turnstream.turns import Item

ENDED = {"completed", "failed", "incomplete", "cancelled"}
WIPED = {"events_expired", "events_lost"}  # codes that tell a reader that what it reads is no longer kept

type Kind = Literal["lost", "repeated", "open", "side-effects-repeated"]
KINDS: tuple[Kind, ...] = ("lost", "repeated", "open", "side-effects-repeated")


@dataclass(frozen=True)
class Finding:
    """A promise that was not kept."""

    kind: Kind
    turn: str
    what: str


def audit(record: Record) -> list[Finding]:
    """Return every promise that was not kept, in no turn's favour."""
    return [
        *(finding for posted in record.turns for finding in _turn(posted, wiped=record.wiped)),
        *(finding for talk in record.talks for finding in _talk(talk)),
        *_listed(record),
        *_side_effects(record),
    ]


# A turn, as it was stored and as it was read


def _turn(posted: Posted, *, wiped: bool) -> Iterator[Finding]:
    if posted.id is None:
        yield Finding("open", posted.name, "it was never accepted, though asked for to the end")
        return
    for oddity in posted.oddities:
        yield Finding("lost", posted.name, oddity)
    if posted.stored is None or posted.stored.get("status") not in ENDED:
        yield Finding("open", posted.name, f"it is stored as {posted.stored and posted.stored.get('status')}")
        return
    if posted.stored["status"] not in posted.may_end:
        yield Finding("lost", posted.name, f"it ended as {posted.stored['status']}: {posted.stored['error']}")
    if posted.stored["status"] == "completed":
        yield from _tokens(posted)
    for reading in (*posted.readings, posted.whole):
        if reading.error in WIPED and wiped:
            continue  # it was told so; what is stored has been looked at
        if reading.error:
            yield Finding("lost", posted.name, f"a reader was told {reading.error}")
        if reading.events:
            yield from _reading(posted, reading)
        else:
            yield Finding("open", posted.name, "a reader got nothing at all")


def _tokens(posted: Posted) -> Iterator[Finding]:
    assert posted.stored
    if posted.tokens is None:
        return
    messages = [item for item in posted.stored["output"] if item["type"] == "message"]
    said = len(messages[-1]["content"][0]["text"].split()) if messages else 0
    if said != posted.tokens:
        yield Finding("lost", posted.name, f"{said} of {posted.tokens} tokens are stored")
    if len(messages) > 1:
        yield Finding("repeated", posted.name, f"{len(messages)} messages are stored")


def _reading(posted: Posted, reading: Reading) -> Iterator[Finding]:
    counted = tally([reading])
    if counted.lost:
        yield Finding("lost", posted.name, f"{counted.lost} events never came to a reader")
    if counted.repeated:
        yield Finding("repeated", posted.name, f"{counted.repeated} events came again to a reader")
    if counted.open:
        yield Finding("open", posted.name, f"{counted.open} items or readers were left open")
    if counted != NOTHING:
        return
    for complaint in disorder(reading.events):
        yield Finding("lost", posted.name, f"out of order: {complaint}")
    if reading.response != posted.stored:
        yield Finding("lost", posted.name, "its last event and what is stored do not agree")
    if posted.whole.ended and reading.events != posted.whole.events:
        yield Finding("lost", posted.name, "two readers read different events")
    messages = (item for item in reading.response["output"] if item["type"] == "message")
    if any(reading.text_of(item["id"]) != item["content"][0]["text"] for item in messages):
        yield Finding("lost", posted.name, "the deltas do not add up to its text")


# Conversations, and all that there is


def _talk(talk: Talk) -> Iterator[Finding]:
    items = Counter(item["id"] for item in talk.items or ())
    asked = Counter(map(_text, talk.items or ()))
    order = [item["id"] for item in talk.items or ()]
    for posted in talk.turns:
        ended = posted.stored if posted.stored and posted.stored.get("status") == "completed" else None
        if ended is None:
            continue  # found above
        wanted = [
            ("input", asked[posted.body["input"]]),
            *((item["id"], items[item["id"]]) for item in ended["output"]),
        ]
        for name, times in wanted:
            if times != 1:
                kind: Kind = "lost" if times == 0 else "repeated"
                yield Finding(kind, posted.name, f"its {name} is {times} times in conversation {talk.id}")
        made = [item["id"] for item in ended["output"]]
        first = order.index(made[0]) if made and made[0] in order else 0
        if made and order[first : first + len(made)] != made:
            yield Finding("lost", posted.name, f"its items stand apart in conversation {talk.id}")
        elif made and talk.items and _text(talk.items[first - 1]) != posted.body["input"]:
            yield Finding("lost", posted.name, f"its answer is not behind its question in conversation {talk.id}")


def _text(item: Item) -> str:
    """Return what a user's message says."""
    return str(item["content"][0]["text"]) if item.get("role") == "user" else ""


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
        if posted.id and posted.id not in listed:
            yield Finding("lost", posted.name, "it is not listed")


# What tools did


def _side_effects(record: Record) -> Iterator[Finding]:
    """Find calls that were executed twice, and charges that a turn shows and nobody made, or the other way round."""
    charges = [execution for execution in record.executions if execution["tool"] == "charge"]
    for key, times in Counter(str(execution["key"]) for execution in charges).items():
        if times > 1:
            yield Finding("side-effects-repeated", key, f"the call was executed {times} times")
    for posted in record.turns:
        executed = sum(str(execution["key"]).startswith(f"{posted.id}:") for execution in charges)
        output = posted.stored.get("output", []) if posted.stored else []
        done = [item for item in output if item["type"] == "mcp_call" and item["name"] == "charge" and item["output"]]
        if executed > posted.charges:
            what = f"{executed} charges were made where {posted.charges} were asked for"
            yield Finding("side-effects-repeated", posted.name, what)
        if executed < len(done):
            yield Finding("lost", posted.name, f"{len(done)} charges are shown, {executed} were made")
