"""A child's log: bounded, and readable from the end."""

import shutil
from pathlib import Path
from typing import BinaryIO

MAX_BYTES = 16 * 1024 * 1024  # of the current file; one older file of about the same size is kept beside it
TAIL_BYTES = 16 * 1024


class LogFile:
    """The file that takes what one child prints."""

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._start = 0

    def open(self) -> BinaryIO:
        """Open the file for a new run of its child, which appends."""
        self.bound()
        file = self.path.open("ab")
        self._start = file.tell()
        return file

    def bound(self) -> None:
        """Move a file that has grown too large aside. Its writer keeps its open file, hence a copy and a truncation."""
        if self._size() > self._max_bytes:
            shutil.copyfile(self.path, self.path.with_name(self.path.name + ".1"))
            with self.path.open("rb+") as file:
                file.truncate(0)
            self._start = 0

    def tail(self, lines: int = 15) -> str:
        """Return the last lines of the current run."""
        if not self.path.exists():
            return ""
        with self.path.open("rb") as file:
            file.seek(max(self._start, self._size() - TAIL_BYTES))
            text = file.read(TAIL_BYTES).decode(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def _size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0
