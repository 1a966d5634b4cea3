"""A turn's output items as they grow, each with its events in the order of the Open Responses specification."""

from typing import Any

from turnstream.ids import new_id
from turnstream.turns import Item
from turnstream_worker.event_log import EventLog
from turnstream_worker.log_state import LogState, OpenItem


class Output:
    """The items that one attempt adds to a turn.

    Text is streamed as it comes. A function call is announced only once it is stored with its turn, by `announce`: a
    client may act on a call as soon as it sees it, so one that a later attempt would not repeat must never be seen.
    """

    def __init__(self, turn: str, log: EventLog, state: LogState) -> None:
        self.items: list[Item] = []  # whole, in order
        self.size = 0  # characters of text
        # llama-stack-client reads the items of these events only where they name their response.
        self._of_response = {"response_id": turn}
        self._log = log
        self._state = state
        self._message: OpenItem | None = None
        self._parts: list[str] = []  # of the open message's text

    def close_left_open(self) -> None:
        """Close what a dead attempt left half-streamed, as incomplete; it is no part of the turn's output."""
        for left in tuple(self._state.open.values()):
            self._close(left, left.text, "incomplete")
        self._state.open.clear()

    async def room(self) -> None:
        """Wait while more is waiting to be sent than may."""
        await self._log.room()

    def text(self, delta: str) -> None:
        """Add to the open message, and open one where there is none."""
        if self._message is None:
            self._message = self._open({"type": "message", "id": new_id("msg_"), "role": "assistant", "content": []})
        self._parts.append(delta)
        self.size += len(delta)
        self._send_text(self._message, delta)

    def close_message(self, status: str) -> None:
        """Close the open message, if there is one, as `completed` or `incomplete`."""
        if self._message is None:
            return
        message, text = self._message, "".join(self._parts)
        self._message, self._parts = None, []
        self.items.append(self._close(message, text, status))

    def add_call(self, call_id: str, name: str, arguments: str) -> None:
        """Add a whole function call, to be announced once it is stored."""
        self.items.append(
            {
                "type": "function_call",
                "id": new_id("fc_"),
                "call_id": call_id,
                "name": name,
                "arguments": arguments,
                "status": "completed",
            }
        )

    def announce(self, items: list[Item]) -> None:
        """Send the events of stored items that the log lacks, in part or whole."""
        for item in items:
            if item["id"] in self._state.done:
                continue
            if item["type"] == "function_call":
                self._announce_call(item)
            else:
                self._announce_message(item)

    def _announce_call(self, item: Item) -> None:
        opened = self._state.open.pop(item["id"], None) or self._open({**item, "arguments": ""})
        self._send(opened, "response.function_call_arguments.delta", delta=item["arguments"])
        self._send(opened, "response.function_call_arguments.done", arguments=item["arguments"])
        self._done(opened.index, item)

    def _announce_message(self, item: Item) -> None:
        text = item["content"][0]["text"]
        opened = self._state.open.pop(item["id"], None) or self._open({**item, "content": []})
        self._send_part_added(opened)
        if rest := text[len(opened.text) :]:
            self._send_text(opened, rest)
        self._close(opened, text, item["status"])

    def _open(self, item: Item) -> OpenItem:
        item = {**item, "status": "in_progress"}
        opened = OpenItem(self._state.items, item)
        self._state.items += 1
        self._log.append("response.output_item.added", output_index=opened.index, item=item, **self._of_response)
        if item["type"] == "message":
            self._send_part_added(opened)
        return opened

    def _close(self, opened: OpenItem, text: str, status: str) -> Item:
        """Close an item with what it came to; return it."""
        item = {**opened.item, "status": status}
        if item["type"] == "message":
            part = _text_part(text)
            self._send_part_added(opened)
            self._send(opened, "response.output_text.done", content_index=0, text=text, logprobs=[])
            self._send(opened, "response.content_part.done", content_index=0, part=part)
            item["content"] = [part]
        self._done(opened.index, item)
        return item

    def _send_part_added(self, opened: OpenItem) -> None:
        self._send(opened, "response.content_part.added", content_index=0, part=_text_part(""))

    def _send_text(self, opened: OpenItem, delta: str) -> None:
        place = {"item_id": opened.item["id"], "output_index": opened.index, "content_index": 0}
        self._log.append("response.output_text.delta", **place, delta=delta, logprobs=[])

    def _send(self, opened: OpenItem, kind: str, **fields: Any) -> None:
        """Send an event of which an item has one, unless the log has it: a dead attempt may have got so far."""
        if kind not in opened.sent:
            opened.sent.add(kind)
            self._log.append(kind, item_id=opened.item["id"], output_index=opened.index, **fields)

    def _done(self, index: int, item: Item) -> None:
        self._log.append("response.output_item.done", output_index=index, item=item, **self._of_response)
        self._state.done.add(item["id"])


def _text_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
