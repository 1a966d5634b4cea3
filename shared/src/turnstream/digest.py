"""What a turn's terminal event says of the log before it, so that a client can prove that it has all of it."""

from hashlib import sha256
from typing import Any


class LogDigest:
    """The count of a log's events so far, and the SHA-256 of their lines, each with the line break behind it."""

    def __init__(self) -> None:
        self.count = 0
        self._hash = sha256()
        self._whole = True

    def add(self, line: bytes) -> None:
        """Take in the next event's line, as it stands in the log and without its line break."""
        self.count += 1
        self._hash.update(line + b"\n")

    def go_on_at(self, number: int) -> None:
        """Go on with event `number`: where that is not the next one, some can no longer be read, and no digest made."""
        if number != self.count:
            self.count = number
            self._whole = False

    def shown(self) -> dict[str, Any]:
        """Return the terminal event's `log`: `count`, and `digest` as `sha256:` and hex, or None."""
        return {"count": self.count, "digest": f"sha256:{self._hash.hexdigest()}" if self._whole else None}
