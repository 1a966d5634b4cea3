"""What a log holds, read back by an attempt that goes on behind another's."""

from dataclasses import dataclass, field
from typing import Any

from turnstream.bus import Stored
from turnstream.digest import LogDigest
from turnstream.events import decode, is_terminal
from turnstream.turns import Item
from turnstream_worker.parts import PART_KINDS, OpenPart

_ADDED = {f"{kind.part_events}.added" for kind in PART_KINDS.values()}
_DELTAS = {f"{kind.text_events}.delta": kind for kind in PART_KINDS.values()}


@dataclass(slots=True)
class OpenItem:
    """An item that was added and not done."""

    index: int  # output_index
    item: Item
    parts: dict[tuple[str, int], OpenPart] = field(default_factory=dict)  # by the item's field and the place in it
    sent: set[str] = field(default_factory=set)  # the types of the events of a call

    def part(self, event: dict[str, Any]) -> OpenPart | None:
        """Return the part that an event is about."""
        if "summary_index" in event:
            return self.parts.get(("summary", event["summary_index"]))
        return self.parts.get(("content", event["content_index"])) if "content_index" in event else None


@dataclass(slots=True)
class LogState:
    """The log so far."""

    sequence: int = 0  # stream sequence of the last batch
    attempt: int = 0  # the latest that has written
    next: int = 0  # number of the next event
    ended: bool = False  # whether the terminal event stands in it
    items: int = 0  # how many items were opened
    done: set[str] = field(default_factory=set)  # ids of the items that were closed
    told: list[Item] = field(default_factory=list)  # those of them that were closed as completed
    open: dict[str, OpenItem] = field(default_factory=dict)  # by id
    digest: LogDigest = field(default_factory=LogDigest, compare=False)

    def read(self, stored: Stored) -> None:
        """Take in the next batch.

        Where a log was lost and written again, an attempt may stand behind a later one, or repeat itself: that is void.
        """
        self.sequence = stored.sequence
        batch = stored.batch
        if batch.attempt < self.attempt or (batch.attempt == self.attempt and batch.next <= self.next):
            return
        self.attempt, self.next = batch.attempt, batch.next
        self.digest.go_on_at(batch.first)
        for line in batch.lines:
            self._read_event(line)

    def _read_event(self, line: bytes) -> None:
        self.digest.add(line)
        self.ended = self.ended or is_terminal(line)
        event = decode(line)
        match event["type"]:
            case "response.output_item.added":
                self.open[event["item"]["id"]] = OpenItem(event["output_index"], event["item"])
                self.items += 1
            case "response.output_item.done":
                self.open.pop(event["item"]["id"], None)  # its beginning may have expired
                self.done.add(event["item"]["id"])
                if event["item"].get("status") == "completed":
                    self.told.append(event["item"])
            case kind if item := self.open.get(event.get("item_id", "")):
                self._read_part(item, kind, event)

    def _read_part(self, item: OpenItem, kind: str, event: dict[str, Any]) -> None:
        part = item.part(event)
        if kind in _ADDED:
            index = "summary_index" if "summary_index" in event else "content_index"
            place = {name: event[name] for name in ("item_id", "output_index", index)}
            item.parts[index.removesuffix("_index"), event[index]] = OpenPart(event["part"]["type"], place)
        elif part is None:
            item.sent.add(kind)
        elif kind in _DELTAS:
            part.pieces.append(event["delta"])
            part.logprobs += event.get("logprobs", ())
        else:
            part.sent.add(kind)
