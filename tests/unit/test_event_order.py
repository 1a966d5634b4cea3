"""The check of events' order finds whatever is missing, doubled or moved."""

from typing import Any

import pytest
from support.event_order import Event, disorder


def a_response(status: str, *output: dict[str, Any]) -> dict[str, Any]:
    """Make as much of a response as its order depends on."""
    usage = {
        "input_tokens": 3,
        "input_tokens_details": {"cached_tokens": 1},
        "output_tokens": 4,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 7,
    }
    return {"id": "resp_1", "status": status, "output": list(output), "usage": usage if output else None}


def part_events(beginning: str, texts: str, place: dict[str, Any], part: dict[str, Any], *pieces: str) -> list[Event]:
    """Make the events of a part."""
    name = "refusal" if part["type"] == "refusal" else "text"
    return [
        {"type": f"{beginning}.added", **place, "part": {**part, name: ""}},
        *({"type": f"{texts}.delta", **place, "delta": piece} for piece in pieces),
        {"type": f"{texts}.done", **place, name: part[name]},
        {"type": f"{beginning}.done", **place, "part": part},
    ]


def a_turn() -> list[Event]:
    """Make the events of a turn that a second attempt ended: a broken-off item, reasoning, a message, a call."""
    left: dict[str, Any] = {
        "type": "message",
        "id": "msg_0",
        "status": "incomplete",
        "content": [{"type": "output_text", "text": "a"}],
    }
    thought: dict[str, Any] = {
        "type": "reasoning",
        "id": "rs_1",
        "status": "completed",
        "summary": [{"type": "summary_text", "text": "in short"}],
        "content": [{"type": "reasoning_text", "text": "well then"}],
    }
    message: dict[str, Any] = {
        "type": "message",
        "id": "msg_2",
        "status": "completed",
        "content": [{"type": "output_text", "text": "yes, but"}, {"type": "refusal", "refusal": "no more"}],
    }
    call: dict[str, Any] = {"type": "function_call", "id": "fc_3", "status": "completed", "arguments": "{}"}

    def added(index: int, item: dict[str, Any]) -> Event:
        emptied = {name: type(item[name])() for name in ("content", "summary", "arguments") if name in item}
        return {
            "type": "response.output_item.added",
            "output_index": index,
            "item": {**item, **emptied, "status": "in_progress"},
        }

    def done(index: int, item: dict[str, Any]) -> Event:
        return {"type": "response.output_item.done", "output_index": index, "item": item}

    def place(index: int, item: dict[str, Any], **within: int) -> dict[str, Any]:
        return {"item_id": item["id"], "output_index": index, **within}

    content, text = "response.content_part", "response.output_text"
    summary, summary_text = "response.reasoning_summary_part", "response.reasoning_summary_text"
    arguments = "response.function_call_arguments"
    events = [
        {"type": "response.created", "response": a_response("in_progress")},
        {"type": "response.in_progress", "response": a_response("in_progress")},
        added(0, left),
        *part_events(content, text, place(0, left, content_index=0), left["content"][0], "a"),
        done(0, left),
        added(1, thought),
        *part_events(
            content,
            "response.reasoning",
            place(1, thought, content_index=0),
            thought["content"][0],
            "well",
            " then",
        ),
        *part_events(summary, summary_text, place(1, thought, summary_index=0), thought["summary"][0], "in", " short"),
        done(1, thought),
        added(2, message),
        *part_events(content, text, place(2, message, content_index=0), message["content"][0], "yes,", " but"),
        *part_events(
            content, "response.refusal", place(2, message, content_index=1), message["content"][1], "no", " more"
        ),
        done(2, message),
        added(3, call),
        {"type": f"{arguments}.delta", **place(3, call), "delta": "{}"},
        {"type": f"{arguments}.done", **place(3, call), "arguments": "{}"},
        done(3, call),
        {"type": "response.completed", "response": a_response("completed", thought, message, call)},
    ]
    return numbered(events)


def numbered(events: list[Event]) -> list[Event]:
    """Number events anew, so that no number gives away what was done to them."""
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


COUNT = len(a_turn())


def test_order_is_found_in_order() -> None:
    """A whole turn has nothing to complain of."""
    assert disorder(a_turn()) == []


@pytest.mark.parametrize("place", range(COUNT))
def test_missing_event(place: int) -> None:
    """No event can be left out."""
    events = a_turn()
    assert disorder(numbered(events[:place] + events[place + 1 :]))


@pytest.mark.parametrize("place", range(COUNT))
def test_doubled_event(place: int) -> None:
    """No event can come twice."""
    events = a_turn()
    assert disorder(numbered(events[: place + 1] + events[place:]))


@pytest.mark.parametrize("place", range(COUNT - 1))
def test_swapped_events(place: int) -> None:
    """No event can come before the one that it follows, but the next part or item may begin before the last is done."""
    events = a_turn()
    if events[place]["type"].endswith("done") and events[place + 1]["type"].endswith("added"):
        return
    assert disorder(numbered([*events[:place], events[place + 1], events[place], *events[place + 2 :]]))


@pytest.mark.parametrize("place", [1, 5, COUNT - 1])
def test_number_out_of_order(place: int) -> None:
    """Every event has the number of its place."""
    events = a_turn()
    events[place]["sequence_number"] += 1
    assert disorder(events)


@pytest.mark.parametrize(
    "changed",
    [
        {"output": [{"id": "msg_9"}]},
        {"status": "failed"},
        {"id": "resp_2"},
        {"usage": {**a_response("", {})["usage"], "total_tokens": 8}},
    ],
)
def test_end_that_does_not_fit(changed: dict[str, Any]) -> None:
    """The response at the end is what its events have made."""
    events = a_turn()
    events[-1]["response"].update(changed)
    assert disorder(events)
