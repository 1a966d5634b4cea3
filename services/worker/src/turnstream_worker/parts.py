"""The kinds of parts that output items are made of, and the events that stream each, by the specification's names."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class PartKind:
    """One kind of part."""

    item: str  # type of the items that it stands in
    within: str  # field of the item
    index: str  # what its place there is called in events
    text: str  # field of the part
    part_events: str  # beginning of the types of its first and last event
    text_events: str  # beginning of the types of the events of its text


PART_KINDS = {
    "output_text": PartKind(
        "message", "content", "content_index", "text", "response.content_part", "response.output_text"
    ),
    "refusal": PartKind("message", "content", "content_index", "refusal", "response.content_part", "response.refusal"),
    "reasoning_text": PartKind(
        "reasoning", "content", "content_index", "text", "response.content_part", "response.reasoning"
    ),
    "summary_text": PartKind(
        "reasoning",
        "summary",
        "summary_index",
        "text",
        "response.reasoning_summary_part",
        "response.reasoning_summary_text",
    ),
}


@dataclass(slots=True)
class OpenPart:
    """A part as it grows."""

    type: str  # of PART_KINDS
    place: dict[str, Any]  # the fields that name it in its events
    pieces: list[str] = field(default_factory=list)
    logprobs: list[dict[str, Any]] = field(default_factory=list)
    sent: set[str] = field(default_factory=set)  # the types of its closing events that were sent

    def whole(self) -> dict[str, Any]:
        """Return what it has come to."""
        part = {"type": self.type, PART_KINDS[self.type].text: "".join(self.pieces)}
        return {**part, "annotations": [], "logprobs": self.logprobs} if self.type == "output_text" else part


def blank(kind: str) -> dict[str, Any]:
    """Return an empty part of a kind."""
    return OpenPart(kind, {}).whole()
