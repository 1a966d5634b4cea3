"""What a run has put to the test: a promise that nothing has strained is not shown to be kept."""

from collections import Counter

from chaos.record import Record


def coverage(record: Record) -> Counter[str]:
    """Count faults, ends, and what only faults bring about."""
    ended = [posted.ended for posted in record.turns if posted.ended]
    items = [item for response in ended for item in response["output"]]
    charges = Counter(execution["key"] for execution in record.executions if execution["tool"] == "charge")
    return (
        Counter(fault.how for fault in record.broken)
        + Counter(response["status"] for response in ended)
        + Counter(
            {
                "charges": len(charges),
                "charges whose end is unknown": sum(
                    item["type"] == "mcp_call" and bool(item["error"]) for item in items
                ),
                "charges made again": sum(times - 1 for times in charges.values()),
                "questions to a person": sum(item["type"] == "mcp_approval_request" for item in items),
                "dead letters": len(record.letters),
                "recoveries that were timed": len(record.kills),
            }
        )
    )
