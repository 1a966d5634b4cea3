"""What a log holds, read back by an attempt that goes on behind another's."""

from dataclasses import dataclass, field

from turnstream.bus import Stored
from turnstream.events import decode, is_terminal
from turnstream.turns import Item


@dataclass(slots=True)
class OpenItem:
    """An item that was added and not done."""

    index: int  # output_index
    item: Item
    text: str = ""  # what its deltas add up to
    sent: set[str] = field(default_factory=set)  # the types of its events so far


@dataclass(slots=True)
class LogState:
    """The log so far."""

    sequence: int = 0  # stream sequence of the last batch
    next: int = 0  # number of the next event
    ended: bool = False  # whether the terminal event stands in it
    items: int = 0  # how many items were opened
    done: set[str] = field(default_factory=set)  # ids of the items that were closed
    open: dict[str, OpenItem] = field(default_factory=dict)  # by id

    def read(self, stored: Stored) -> None:
        """Take in the next batch."""
        self.sequence = stored.sequence
        self.next = stored.batch.next
        for line in stored.batch.lines:
            self._read_event(line)

    def _read_event(self, line: bytes) -> None:
        self.ended = self.ended or is_terminal(line)
        event = decode(line)
        match event["type"]:
            case "response.output_item.added":
                self.open[event["item"]["id"]] = OpenItem(event["output_index"], event["item"])
                self.items += 1
            case "response.output_item.done":
                self.open.pop(event["item"]["id"], None)  # its beginning may have expired
                self.done.add(event["item"]["id"])
            case kind if item := self.open.get(event.get("item_id", "")):
                item.sent.add(kind)
                item.text += event["delta"] if kind == "response.output_text.delta" else ""
