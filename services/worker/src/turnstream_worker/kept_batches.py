"""The last batches that a writer has stored, for the case that its log is lost.

A server that dies may have told the writer of a batch, and a reader not yet. Without these, nobody had it any more.
"""

from collections import deque

from turnstream.events import Batch

KEPT_BYTES = 256 << 10  # of events


class KeptBatches:
    """Batches of one attempt, the newest of them, as far as they fit."""

    def __init__(self) -> None:
        self._batches: deque[tuple[Batch, int]] = deque()  # with their bytes
        self._bytes = 0

    def add(self, batch: Batch) -> None:
        """Keep a batch, and drop the oldest where there is no room."""
        size = sum(map(len, batch.lines))
        self._batches.append((batch, size))
        self._bytes += size
        while self._bytes > KEPT_BYTES:
            self._bytes -= self._batches.popleft()[1]

    def behind(self, last: Batch | None) -> list[Batch]:
        """Return those that are missing in a log that ends with `last`: behind another attempt's, or nothing, all."""
        return [
            batch
            for batch, _ in self._batches
            if last is None or last.attempt != batch.attempt or batch.first >= last.next
        ]
