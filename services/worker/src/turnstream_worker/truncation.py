"""Make a conversation shorter from its middle, for `truncation: auto`."""

from itertools import pairwise

import orjson

from turnstream.turns import Item

SHARE = 0.25  # of the conversation's size, that goes at a time


def without_middle(items: list[Item]) -> list[Item] | None:
    """Return the items without those exchanges in the middle that make up a quarter of their size, or None.

    An exchange is a message of the user and all that follows it up to the next, so a call never loses its output. The
    first and the last one stay, and so does what is said before the first.
    """
    starts = [place for place, item in enumerate(items) if item.get("role") == "user"]
    middle = [items[start:end] for start, end in pairwise(starts[1:])]
    if not middle:
        return None
    spare = SHARE * _size(items)
    # The oldest of them says the least about what is asked now.
    while middle and spare > 0:
        spare -= _size(middle.pop(0))
    return [*items[: starts[1]], *(item for exchange in middle for item in exchange), *items[starts[-1] :]]


def _size(items: list[Item]) -> int:
    return len(orjson.dumps(items))
