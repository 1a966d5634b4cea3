"""What a run has put to the test: a promise that nothing has strained is not shown to be kept."""

from collections import Counter

from chaos.record import Record


def coverage(record: Record) -> Counter[str]:
    """Count faults, ends, and what only faults bring about."""
    ended = [(posted.body, posted.ended) for posted in record.turns if posted.ended]
    cancelled = [body for body, response in ended if response["status"] == "cancelled"]
    items = [item for _, response in ended for item in response["output"]]
    calls = [item for item in items if item["type"] == "mcp_call"]
    charges = Counter(execution["key"] for execution in record.executions if execution["tool"] == "charge")
    brought_about = {
        "cancelled without readers": sum("on_disconnect" in body for body in cancelled),
        "cancelled to make way": sum("on_busy" in body for body in cancelled),
        "charges": len(charges),
        "charges whose end is unknown": sum(bool(call["error"]) for call in calls),
        "charges made again": sum(times - 1 for times in charges.values()),
        "questions to a person": sum(item["type"] == "mcp_approval_request" for item in items),
        "dead letters": len(record.letters),
        "kills that were timed": len(record.kills),
    }
    faults = Counter(fault.how for fault in record.broken)
    return faults + Counter(response["status"] for _, response in ended) + Counter(brought_about)
