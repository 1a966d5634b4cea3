"""Lists, a page at a time."""

from typing import Any


def page(found: list[dict[str, Any]], limit: int) -> dict[str, Any]:
    """Return a list object of up to `limit` things, of which one more was looked for to tell whether there are more."""
    shown = found[:limit]
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": len(found) > limit,
    }


def behind(things: list[dict[str, Any]], after: str | None) -> list[dict[str, Any]]:
    """Return the things behind the one whose id is `after`; all of them if there is none."""
    for index, thing in enumerate(things):
        if thing["id"] == after:
            return things[index + 1 :]
    return things
