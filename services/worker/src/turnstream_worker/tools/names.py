"""Names by which a model calls tools, so that each stands for one."""

import re
from collections import Counter
from collections.abc import Iterable

NAME_LIMIT = 64  # characters; OpenAI's limit, which providers share

_UNFIT = re.compile(r"[^a-zA-Z0-9_-]")


def unique_names(tools: Iterable[tuple[str, str]], taken: set[str]) -> list[str]:
    """Return a name for each tool, of which its server's label and its own name are given.

    It is its own, or `label__name` where that stands twice or is `taken`. Names that no function may have are mended.
    """
    tools = list(tools)
    count = Counter(_mended(name) for _, name in tools)
    names: list[str] = []
    for label, name in tools:
        own = _mended(name)
        wanted = own if count[own] == 1 and own not in taken else _mended(f"{label}__{name}")
        names.append(_free(wanted, taken.union(names)))
    return names


def _mended(name: str) -> str:
    return _UNFIT.sub("_", name)[:NAME_LIMIT]


def _free(wanted: str, used: set[str]) -> str:
    name, number = wanted, 2
    while name in used:
        name = f"{wanted[: NAME_LIMIT - len(str(number)) - 1]}_{number}"
        number += 1
    return name
