"""The fault harness's audit counts whatever is lost, repeated or left open: it can fail."""

from collections.abc import Callable
from typing import Any

import pytest
from chaos.audit import audit
from chaos.record import Posted, Reading, Record, Talk
from chaos.recovery import percentile, recoveries
from support.reader import Event

TURN, MESSAGE = "resp_1", "msg_1"


def a_response(status: str = "completed", text: str = "one two") -> dict[str, Any]:
    """Make as much of a response as the audit looks at."""
    part = {"type": "output_text", "text": text}
    message = {"type": "message", "id": MESSAGE, "role": "assistant", "status": "completed", "content": [part]}
    output = [message] if status == "completed" else []
    metadata = {"key": "k"}
    return {"id": TURN, "status": status, "output": output, "usage": None, "error": None, "metadata": metadata}


def its_events() -> list[Event]:
    """Make the events of a turn that says two words."""
    beginning = a_response("in_progress")
    [message] = a_response()["output"]
    place = {"item_id": MESSAGE, "output_index": 0, "content_index": 0}
    emptied = {**message, "status": "in_progress", "content": []}
    part = message["content"][0]
    events: list[Event] = [
        {"type": "response.created", "response": beginning},
        {"type": "response.in_progress", "response": beginning},
        {"type": "response.output_item.added", "output_index": 0, "item": emptied},
        {"type": "response.content_part.added", **place, "part": {**part, "text": ""}},
        {"type": "response.output_text.delta", **place, "delta": "one"},
        {"type": "response.output_text.delta", **place, "delta": " two"},
        {"type": "response.output_text.done", **place, "text": "one two"},
        {"type": "response.content_part.done", **place, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": message},
        {"type": "response.completed", "response": a_response()},
    ]
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


def a_record() -> Record:
    """Make the record of one turn in a conversation, all of it as it was promised."""
    posted = Posted("k", {"input": "say two words"}, tokens=2, id=TURN)
    posted.readings = [Reading(its_events()), Reading(its_events())]
    posted.whole = Reading(its_events())
    posted.stored = a_response()
    asked = {"id": "msg_0", "role": "user", "content": [{"type": "input_text", "text": "say two words"}]}
    talk = Talk("conv_1", [posted], [asked, *a_response()["output"]])
    posted.charges = 1
    charge = {"tool": "charge", "key": f"{TURN}:1", "arguments": {"order": "k"}}
    return Record([posted], [talk], listed=[a_response()], executions=[charge])


def test_nothing_to_find() -> None:
    """Where every promise was kept, nothing is found."""
    assert audit(a_record()) == []


def lose_an_event(record: Record) -> None:
    """Let a reader miss one."""
    del record.turns[0].readings[1].events[5]


def repeat_an_event(record: Record) -> None:
    """Give a reader one twice."""
    events = record.turns[0].readings[1].events
    events.insert(5, events[4])


def end_twice(record: Record) -> None:
    """Give a reader a second end."""
    events = record.turns[0].readings[0].events
    events.append({**events[-1], "sequence_number": len(events)})


def break_off(record: Record) -> None:
    """Let a reader wait for the end for ever."""
    del record.turns[0].readings[0].events[-1:]


def swap_events(record: Record) -> None:
    """Move what two events say."""
    events = record.turns[0].readings[0].events
    events[4]["delta"], events[5]["delta"] = events[5]["delta"], events[4]["delta"]


def tell_readers_apart(record: Record) -> None:
    """Give one reader an event as nobody else has it."""
    record.turns[0].readings[0].events[4]["obfuscation"] = "x"


def leave_running(record: Record) -> None:
    """Let the store say that the turn goes on."""
    record.turns[0].stored = a_response("in_progress")


def disagree(record: Record) -> None:
    """Let the store say something else than the last event."""
    record.turns[0].stored = a_response(text="one too")


def fail(record: Record) -> None:
    """Let the turn fail where nothing was wrong with it."""
    record.turns[0].stored = a_response("failed")


def lose_tokens(record: Record) -> None:
    """Let the turn have been longer."""
    record.turns[0].tokens = 3


def refuse(record: Record) -> None:
    """Let a client have got an answer that nothing explains."""
    record.turns[0].oddities = ["POST was answered 500"]


def never_accept(record: Record) -> None:
    """Let a client have asked in vain."""
    record.turns.append(Posted("k2", {}))


def begin_twice(record: Record) -> None:
    """Let one key have begun two turns."""
    record.listed.append({**a_response(), "id": "resp_2"})


def forget_a_stranger(record: Record) -> None:
    """Let a turn that no client heard of be left running."""
    record.listed.append({**a_response("queued"), "id": "resp_2", "metadata": {"key": "k2"}})


def lose_from_list(record: Record) -> None:
    """Let the turn be missing where all are listed."""
    record.listed.clear()


def lose_from_conversation(record: Record) -> None:
    """Let the conversation lack the answer."""
    items = record.talks[0].items
    assert items
    items.pop()


def repeat_in_conversation(record: Record) -> None:
    """Let the conversation hold the question twice."""
    items = record.talks[0].items
    assert items
    items.append({**items[0], "id": "msg_9"})


def expire(record: Record) -> None:
    """Tell a reader that its events are gone though nothing was wiped."""
    record.turns[0].readings[0].error = "events_expired"
    del record.turns[0].readings[0].events[5:]


def charge_again(record: Record) -> None:
    """Execute a call twice."""
    record.executions *= 2


def charge_by_another_key(record: Record) -> None:
    """Execute more calls than were asked for."""
    record.executions.append({**record.executions[0], "key": f"{TURN}:2"})


def charge_never(record: Record) -> None:
    """Let a turn show a charge that nobody made."""
    posted = record.turns[0]
    call = {"type": "mcp_call", "id": "mcp_1", "name": "charge", "status": "completed", "output": "charged"}
    assert posted.stored
    posted.stored["output"].append(call)
    record.executions.clear()


def split_in_conversation(record: Record) -> None:
    """Let something stand between question and answer."""
    items = record.talks[0].items
    assert items
    items.insert(1, {"id": "msg_8", "role": "user", "content": [{"type": "input_text", "text": "else"}]})


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [
        (lose_an_event, "lost"),
        (repeat_an_event, "repeated"),
        (end_twice, "repeated"),
        (break_off, "open"),
        (swap_events, "lost"),
        (tell_readers_apart, "lost"),
        (leave_running, "open"),
        (disagree, "lost"),
        (fail, "lost"),
        (lose_tokens, "lost"),
        (refuse, "lost"),
        (never_accept, "open"),
        (begin_twice, "repeated"),
        (forget_a_stranger, "open"),
        (lose_from_list, "lost"),
        (lose_from_conversation, "lost"),
        (repeat_in_conversation, "repeated"),
        (expire, "lost"),
        (charge_never, "lost"),
        (split_in_conversation, "lost"),
        (charge_again, "side-effects-repeated"),
        (charge_by_another_key, "side-effects-repeated"),
    ],
)
def test_broken_promise(spoil: Callable[[Record], None], kind: str) -> None:
    """Each broken promise is found, and counted as what it is."""
    record = a_record()
    spoil(record)
    assert kind in {finding.kind for finding in audit(record)}


def test_wiped() -> None:
    """A reader that was told of a wipe is let go; the turn itself is looked at all the same."""
    record = a_record()
    record.wiped = True
    expire(record)
    assert audit(record) == []
    leave_running(record)
    assert [finding.kind for finding in audit(record)] == ["open"]


def test_recovery() -> None:
    """A killed worker's turn has recovered with the event by which its successor closes what was left open."""
    reading = Reading(its_events(), arrivals=[10.0] * 6 + [12.5] * 4, attached=True)
    reading.events[8]["item"]["status"] = "incomplete"
    posted = Posted("k", {}, readings=[reading])
    assert recoveries([posted], [10.5, 30]) == [2.0]


def test_undisturbed() -> None:
    """A turn that went on all the time was another worker's, and counts for nothing."""
    reading = Reading(its_events(), arrivals=[10.0 + place / 2 for place in range(10)], attached=True)
    assert recoveries([Posted("k", {}, readings=[reading])], [11]) == []


def test_percentile() -> None:
    """Of twenty, the one below the slowest is the 95th percentile."""
    assert percentile([float(number) for number in range(1, 21)]) == 19
    assert percentile([3.0]) == 3
    assert percentile([]) is None


def test_slow_recovery() -> None:
    """A turn that stood still until long after its worker's kill counts with all of that time, and once."""
    reading = Reading(its_events(), arrivals=[10.0] * 6 + [40.0] * 4, attached=True)
    reading.events[8]["item"]["status"] = "incomplete"
    assert recoveries([Posted("k", {}, readings=[reading])], [10.5, 20]) == [29.5]
