"""The audit of conversations: each turn's items stand in them once, in order, or not at all if it was rolled back."""

from collections import Counter
from collections.abc import Iterator

from chaos.finding import Finding
from chaos.record import Posted, Record, Talk
from turnstream.turns import Item

MAKE_WAY = {"interrupt", "rollback"}


def audit_talks(record: Record) -> Iterator[Finding]:
    """Find what is missing from conversations, stands in them twice or in disorder, and what ran at the same time."""
    for conversation, turns in record.crowds.items():
        yield Finding("repeated", ", ".join(sorted(turns)), f"they ran at the same time in conversation {conversation}")
    for talk in record.talks:
        for place, posted in enumerate(talk.turns):
            if posted.ended and posted.ended["status"] == "completed":
                yield from _completed(talk, posted)
            elif posted.ended and posted.ended["status"] == "cancelled":
                ways = (after.body.get("on_busy") for after in talk.turns[place + 1 :])
                decided = next((way for way in ways if way in MAKE_WAY), None)
                yield from _cancelled(talk, posted, kept=decided == "interrupt")
        asked = [question for item in talk.items or () if (question := _question(item))]
        if talk.in_order and asked != [question for question in map(_asked, talk.turns) if question in asked]:
            yield Finding("lost", talk.id, "its questions are not in the order of their acceptance")


def _completed(talk: Talk, posted: Posted) -> Iterator[Finding]:
    assert posted.ended
    made = [item["id"] for item in posted.ended["output"]]
    yield from _stands(talk, posted, dict.fromkeys(made, 1), asked=1)
    order = [item["id"] for item in talk.items or ()]
    first = order.index(made[0]) if made and made[0] in order else 0
    if made and order[first : first + len(made)] != made:
        yield Finding("lost", posted.name, f"its items stand apart in conversation {talk.id}")
    elif made and talk.items and _question(talk.items[first - 1]) != _asked(posted):
        yield Finding("lost", posted.name, f"its answer is not behind its question in conversation {talk.id}")


def _cancelled(talk: Talk, posted: Posted, *, kept: bool) -> Iterator[Finding]:
    assert posted.ended
    wanted = {item["id"]: int(kept and item.get("status") != "incomplete") for item in posted.ended["output"]}
    yield from _stands(talk, posted, wanted, asked=int(kept))


def _stands(talk: Talk, posted: Posted, wanted: dict[str, int], *, asked: int) -> Iterator[Finding]:
    """Compare how often items, and the question, stand in a conversation with how often they should."""
    ids = Counter(item["id"] for item in talk.items or ())
    questions = Counter(map(_question, talk.items or ()))
    found = [("input", asked, questions[_asked(posted)]), *((name, due, ids[name]) for name, due in wanted.items())]
    for name, due, times in found:
        if times != due:
            what = f"its {name} is {times} times in conversation {talk.id}, and not {due}"
            yield Finding("lost" if times < due else "repeated", posted.name, what)


def _asked(posted: Posted) -> str:
    return str(posted.body["input"])


def _question(item: Item) -> str:
    """Return what a user's message says."""
    return str(item["content"][0]["text"]) if item.get("role") == "user" else ""
