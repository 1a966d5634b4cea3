"""The audit of side effects: what tools executed, against what the turns were asked for and what they show."""

from collections import Counter
from collections.abc import Iterator

from chaos.finding import Finding
from chaos.record import Posted, Record

NO_CALLS: Counter[str] = Counter()


def audit_calls(record: Record) -> Iterator[Finding]:
    """Find calls that were executed twice or unseen, and those that a turn shows and nobody made."""
    made: dict[str, Counter[str]] = {}  # by turn, how often each call was executed, by its idempotency key
    for execution in record.executions:
        if execution["tool"] == "charge":
            key = str(execution["key"])
            made.setdefault(key.partition(":")[0], Counter())[key] += 1
    for posted in record.turns:
        yield from _executed(posted, made.pop(posted.id or "", NO_CALLS))
    for turn in made:
        yield Finding("side-effects-repeated", turn, "it has made charges, and no client knows of it")


def _executed(posted: Posted, made: Counter[str]) -> Iterator[Finding]:
    for key, times in made.items():
        if times > 1 and posted.on_uncertain != "retry":
            yield Finding("side-effects-repeated", posted.name, f"the call {key} was executed {times} times")
    if len(made) > posted.charges:
        what = f"{len(made)} charges were made where {posted.charges} were asked for"
        yield Finding("side-effects-repeated", posted.name, what)
    if posted.ended:
        yield from _shown(posted, posted.ended["status"], {key.rpartition(":")[2] for key in made})


def _shown(posted: Posted, status: str, made: set[str]) -> Iterator[Finding]:
    """Compare the calls that a turn shows with those that were made, by the ids of their items."""
    assert posted.ended
    shown = {item["id"]: item for item in posted.ended["output"] if item["type"] == "mcp_call"}
    for unseen in made - shown.keys():
        yield Finding("lost", posted.name, f"the charge {unseen} was made, and is not shown")
    for name, item in shown.items():
        if item["name"] == "charge" and item["output"] and name not in made:
            yield Finding("lost", posted.name, f"the charge {name} is shown, and was never made")
        if posted.on_uncertain == "retry" and status != "failed" and item["error"]:
            yield Finding("lost", posted.name, f"the call {name} was not run again: {item['error']}")
    if posted.calls not in {None, len(shown)} and status != "failed":
        yield Finding("lost", posted.name, f"it shows {len(shown)} calls of {posted.calls}")
