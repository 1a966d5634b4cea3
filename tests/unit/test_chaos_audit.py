"""The fault harness's audit counts whatever is lost, repeated or left open: it can fail."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from chaos.audit import audit
from chaos.call_audit import audit_calls
from chaos.end_audit import audit_ends
from chaos.record import Broken, Posted, Reading, Record, Talk
from chaos.recovery import percentile, recoveries
from chaos.talk_audit import audit_talks
from support.reader import Event

from turnstream.digest import LogDigest

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


def a_reading() -> Reading:
    """Make what a reader has of them, as they came."""
    log, lines, events = LogDigest(), [], its_events()
    for event in events[:-1]:
        lines.append(f"data: {json.dumps(event)}")
        log.add(json.dumps(event).encode())
    return Reading(events, lines=[*lines, f"data: {json.dumps({**events[-1], 'log': log.shown()})}"])


def a_record() -> Record:
    """Make the record of one turn in a conversation, all of it as it was promised."""
    posted = Posted("k", {"input": "say two words"}, tokens=2, id=TURN)
    posted.readings = [a_reading(), a_reading()]
    posted.whole = a_reading()
    posted.stored = a_response()
    asked = {"id": "msg_0", "role": "user", "content": [{"type": "input_text", "text": "say two words"}]}
    talk = Talk("conv_1", [posted], items=[asked, *a_response()["output"]])
    return Record([posted], [talk], listed=[a_response()])


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


def break_a_line(record: Record) -> None:
    """Give a reader an event with other bytes than were stored."""
    record.turns[0].readings[0].lines[3] += " "


def run_together(record: Record) -> None:
    """Let two turns of a conversation have been seen to run at the same time."""
    record.crowds["conv_1"] = {TURN, "resp_2"}


def accept_in_another_order(record: Record) -> None:
    """Let the conversation hold a question before one that was accepted earlier."""
    [talk] = record.talks
    assert talk.items
    later = Posted("k2", {"input": "earlier"}, id="resp_2")
    talk.turns.append(later)
    talk.items.insert(0, {"id": "msg_8", "role": "user", "content": [{"type": "input_text", "text": "earlier"}]})


def keep_nothing(record: Record) -> None:
    """Let a turn that is not to be kept be there."""
    record.turns[0].body["store"] = False


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
        (split_in_conversation, "lost"),
        (break_a_line, "lost"),
        (run_together, "repeated"),
        (accept_in_another_order, "lost"),
        (keep_nothing, "open"),
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
    record.broken.append(Broken("nats", "wipe", 0, 1))
    expire(record)
    assert audit(record) == []
    leave_running(record)
    assert [finding.kind for finding in audit(record)] == ["open"]


@pytest.mark.parametrize(("came", "kinds"), [(5.0, []), (25.0, ["lost"])])
def test_another_log(came: float, kinds: list[str]) -> None:
    """What was read to its end before a wipe may differ from what is read afterwards, and nothing else may."""
    record = a_record()
    record.broken.append(Broken("nats", "wipe", 10, 20))
    early, _ = record.turns[0].readings
    early.arrivals = [came]
    early.events[4]["obfuscation"] = "x"
    assert [finding.kind for finding in audit(record)] == kinds


# Calls


def a_charge(on_uncertain: str = "fail") -> tuple[Record, dict[str, Any]]:
    """Make the record of a turn that has called a tool, and the item of its call."""
    record = Record([Posted("k", {"tools": [{"on_uncertain": on_uncertain}]}, id=TURN)])
    record.turns[0].calls = record.turns[0].charges = 1
    call = {"type": "mcp_call", "id": "mcp_1", "name": "charge", "output": "charged", "error": None}
    record.turns[0].stored = {**a_response(), "output": [call]}
    record.executions = [{"tool": "charge", "key": f"{TURN}:1:mcp_1"}]
    return record, call


def found_of_calls(record: Record) -> list[str]:
    """Return the kinds of what is found of a record's calls."""
    return [finding.kind for finding in audit_calls(record)]


@pytest.mark.parametrize(
    ("on_uncertain", "kinds"),
    [("fail", ["side-effects-repeated"]), ("ask", ["side-effects-repeated"]), ("retry", [])],
)
def test_same_key_again(on_uncertain: str, kinds: list[str]) -> None:
    """A call is made again only where that was asked for."""
    record, _ = a_charge(on_uncertain)
    assert found_of_calls(record) == []
    record.executions *= 2
    assert found_of_calls(record) == kinds


def test_another_key() -> None:
    """A call under another key is one more than was asked for, and one that the turn does not show."""
    record, _ = a_charge("retry")
    record.executions.append({"tool": "charge", "key": f"{TURN}:2:mcp_2"})
    assert found_of_calls(record) == ["side-effects-repeated", "lost"]


def test_call_of_a_stranger() -> None:
    """A call of a turn that no client knows was not asked for."""
    record, _ = a_charge()
    record.executions.append({"tool": "charge", "key": "resp_2:1:mcp_2"})
    assert found_of_calls(record) == ["side-effects-repeated"]


def test_call_that_was_not_made() -> None:
    """A turn may not show a charge that nobody made, nor leave out one of its calls."""
    record, _ = a_charge()
    record.executions.clear()
    assert found_of_calls(record) == ["lost"]
    record.turns[0].stored = a_response()
    assert found_of_calls(record) == ["lost"]


def test_call_that_was_given_up() -> None:
    """A call that was to be made again may not be told as unknown."""
    for on_uncertain, kinds in (("fail", []), ("retry", ["lost"])):
        record, call = a_charge(on_uncertain)
        call.update(output=None, error="how it ended is not known")
        assert found_of_calls(record) == kinds


# Ends


def given_up() -> Record:
    """Make the record of a turn whose only attempt has died, with its letter."""
    posted = Posted("k", {"max_attempts": 1}, id=TURN, readings=[Reading(arrivals=[10, 20])])
    posted.stored = {**a_response("failed"), "error": {"code": "max_attempts"}}
    letter = {"id": TURN, "attempts": 1}
    return Record([posted], listed=[posted.stored], letters=[letter], broken=[Broken("worker-1", "kill -9", 15, 15)])


def test_given_up() -> None:
    """A turn may fail by its only attempt if a worker has died, and there is a letter about it."""
    assert list(audit_ends(given_up())) == []
    silent = given_up()
    silent.letters.clear()
    assert len(list(audit_ends(silent))) == 1
    silent.broken.append(Broken("nats", "wipe", 30, 31))
    assert list(audit_ends(silent)) == []


@pytest.mark.parametrize("fault", [Broken("worker-1", "terminate", 15, 16), Broken("worker-1", "kill -9", 1, 1)])
def test_given_up_for_nothing(fault: Broken) -> None:
    """A worker that leaves in order, or one that died before, is no reason."""
    record = given_up()
    record.broken = [fault]
    assert len(list(audit_ends(record))) == 1


def test_letter_for_nothing() -> None:
    """No letter is about a turn that has not failed."""
    record = given_up()
    record.letters.append({"id": "resp_2", "attempts": 3})
    assert len(list(audit_ends(record))) == 1


@pytest.mark.parametrize(("target", "found"), [(None, 1), ("worker-1", 1), ("gateway-2", 0), ("nats-1", 0)])
def test_left(target: str | None, found: int) -> None:
    """A turn that was to be cancelled with its readers may go on only if its gateway could not see to it."""
    record = Record([Posted("k", {"on_disconnect": "cancel", "disconnect_grace": 1}, id=TURN, left=20)])
    record.turns[0].stored = a_response()
    record.broken = [Broken(target, "pause", 18, 22)] if target else []
    assert len(list(audit_ends(record))) == found
    record.turns[0].stored = a_response("cancelled")
    assert list(audit_ends(record)) == []


# Conversations


@pytest.mark.parametrize(("on_busy", "kept"), [("interrupt", True), ("rollback", False)])
def test_made_way(on_busy: str, kept: bool) -> None:
    """A conversation keeps what an interrupted turn had finished, and nothing of one that was rolled back."""
    record = a_record()
    [talk], [first] = record.talks, record.turns
    broken_off = {"type": "message", "id": "msg_7", "status": "incomplete"}
    first.stored = {**a_response("cancelled"), "output": [*a_response()["output"], broken_off]}
    talk.turns.append(Posted("k2", {"input": "instead", "on_busy": on_busy}))
    whole = talk.items or []
    for items, right in ((whole, kept), ([], not kept), ([*whole, broken_off], False)):
        talk.items = items
        assert (list(audit_talks(record)) == []) is right


# Recovery


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
