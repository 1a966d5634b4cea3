"""What a turn's calls of models have used, in tokens."""

from typing import Any


class Usage:
    """A sum over calls."""

    def __init__(self) -> None:
        self._sum = dict.fromkeys(("input", "cached", "output", "reasoning", "total"), 0)
        self._seen = False

    @property
    def output(self) -> int:
        """Tokens that models have written."""
        return self._sum["output"]

    def add(self, usage: dict[str, Any]) -> None:
        """Add what a chat completion says that it used; it may have said nothing."""
        self._seen = self._seen or bool(usage)
        read = usage.get("prompt_tokens") or 0
        written = usage.get("completion_tokens") or 0
        self._sum["input"] += read
        self._sum["cached"] += (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        self._sum["output"] += written
        self._sum["reasoning"] += (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
        self._sum["total"] += usage.get("total_tokens") or read + written

    def add_shown(self, shown: dict[str, Any] | None) -> None:
        """Add another sum, as `shown` returned it."""
        if shown is None:
            return
        self._seen = True
        self._sum["input"] += shown["input_tokens"]
        self._sum["cached"] += shown["input_tokens_details"]["cached_tokens"]
        self._sum["output"] += shown["output_tokens"]
        self._sum["reasoning"] += shown["output_tokens_details"]["reasoning_tokens"]
        self._sum["total"] += shown["total_tokens"]

    def shown(self) -> dict[str, Any] | None:
        """Return the sum as the specification names it, or None if no call said anything."""
        if not self._seen:
            return None
        return {
            "input_tokens": self._sum["input"],
            "input_tokens_details": {"cached_tokens": self._sum["cached"]},
            "output_tokens": self._sum["output"],
            "output_tokens_details": {"reasoning_tokens": self._sum["reasoning"]},
            "total_tokens": self._sum["total"],
        }
