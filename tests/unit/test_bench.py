"""The benchmark's figures: percentiles, reading a stream, the table, the goals."""

import json
import os
import time
from typing import Any

import pytest

from bench.errors import ProcessEndedError
from bench.goals import goals
from bench.load import Job, Outcome
from bench.measure import Measured
from bench.processor_time import processor_seconds
from bench.report import document, table, text
from bench.scenarios import BUSY, PACED, SINGLE
from bench.spread import Spread, percentile
from bench.turn_reader import Piece, read_turn
from turnstream_local.stand_in.answers import STAMP, Defaults, answer
from turnstream_local.stand_in.chat_request import parse_chat_request
from turnstream_local.stand_in.pacer import Pacer
from turnstream_local.stand_in.speech import Speech


def frame(kind: str, **fields: Any) -> bytes:
    """Encode one event as servers do."""
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def delta(word: str) -> bytes:
    """Encode one token."""
    return frame("response.output_text.delta", delta=word)


def measured(*, rate: float, system_ms: float, first_token: float, lag: float = 1) -> Measured:
    """Make up a measurement of 100 turns; times in ms."""
    load = Outcome(
        turns=100,
        complete=100,
        seconds=100 / rate,
        first_token=Spread(first_token, first_token),
        lag=Spread(lag, lag),
        client_cpu=0.1,
        problem=None,
    )
    return Measured(load, {"server": system_ms / 2, "postgres": system_ms / 2}, model_ms=1, client_ms=1, disturbance=0)


@pytest.mark.parametrize(("percent", "expected"), [(0, 1), (1, 1), (50, 50), (99, 99), (100, 100)])
def test_percentile_is_the_nearest_rank(percent: float, expected: int) -> None:
    """Of 1 to 100 each percentile is its own number."""
    assert percentile(range(1, 101), percent) == expected


def test_spread_is_in_milliseconds_and_absent_without_times() -> None:
    """Seconds come in, in any order."""
    assert Spread.of([0.003, 0.001, 0.002]) == Spread(p50=2, p99=3)
    assert Spread.of([]) is None


def test_turn_is_read_over_any_cut_of_its_bytes() -> None:
    """A token counts once, when its last byte came; the text repeated at the end counts for nothing."""
    body = frame("response.created") + delta("one") + delta(" two") + frame("response.completed", text="one two")
    body += b"data: [DONE]\n\n"
    pieces: list[Piece] = [(float(at), body[at : at + 1]) for at in range(len(body))]
    turn = read_turn(pieces)
    assert [token.text for token in turn.tokens] == ["one", "two"]
    assert turn.complete(2)
    assert not turn.complete(3)
    whole_line = body.index(b"\n", body.index(b'"one"'))
    assert turn.tokens[0].arrival == whole_line


def test_tokens_sent_together_are_each_counted() -> None:
    """A server may put several tokens into one event."""
    turn = read_turn([(1.0, delta("one two") + delta(" three") + frame("response.completed"))])
    assert turn.complete(3)


@pytest.mark.parametrize("last", ["response.failed", "response.incomplete", "error"])
def test_turn_that_ends_otherwise_is_not_complete(last: str) -> None:
    """All tokens are not enough."""
    assert not read_turn([(1.0, delta("one") + frame(last))]).complete(1)


def test_body_that_is_no_stream_is_an_incomplete_turn() -> None:
    """An error's JSON has no events."""
    turn = read_turn([(1.0, b'{"error": {"message": "no"}}')])
    assert turn.last_event == "none"
    assert not turn.complete(20)


def test_lag_is_the_arrival_less_the_time_that_the_token_tells() -> None:
    """The arrivals' clock is set by its epoch."""
    turn = read_turn([(2.5, delta(" 1000002000")), (3.0, delta(" 1000003000"))])
    assert turn.lags(epoch=1_000_000) == pytest.approx([0.5, 0])


async def test_stamped_tokens_tell_when_they_are_sent() -> None:
    """The stand-in fills the time in as it sends, not as it prepares the answer."""
    content = "[stand-in tokens=3 stamp=1] Hi"
    body = {"model": "stand-in", "messages": [{"role": "user", "content": content}], "stream": True}
    request = parse_chat_request(body)
    sent: list[bytes] = []

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))

    before = time.time_ns() // 1_000_000
    await Speech(request, answer(request, None, Defaults()), Pacer(), send, None).run()
    after = time.time_ns() // 1_000_000
    chunks = [json.loads(line[6:]) for line in b"".join(sent).splitlines() if line.startswith(b"data: {")]
    words = [chunk["choices"][0]["delta"].get("content") for chunk in chunks if chunk["choices"]]
    stamps = [int(word) for word in words if word]
    assert len(stamps) == 3
    assert before <= stamps[0] <= stamps[-1] <= after
    assert STAMP.strip() not in words


def test_processor_time_grows_with_work() -> None:
    """This process has taken some, and takes more."""
    pids = {"own": os.getpid()}
    before, deadline = processor_seconds(pids)["own"], time.monotonic() + 10
    while processor_seconds(pids)["own"] == before:
        assert time.monotonic() < deadline


def test_process_that_is_gone_is_named() -> None:
    """A crash must not give a figure."""
    with pytest.raises(ProcessEndedError, match="worker-1 ended"):
        processor_seconds({"worker-1": 2**22 + 1})  # above the largest pid


def test_job_asks_for_its_tokens() -> None:
    """The request says its length and holds the directive."""
    job = Job(port=1, model="m", turns=1, clients=1, tokens=60, delay_ms=30, stamped=True, patience=1)
    head, _, body = job.request.partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert json.loads(body) == {
        "model": "m",
        "input": "[stand-in tokens=60 delay_ms=30 stamp=1] Tell me a short story.",
        "stream": True,
    }


def test_table_aligns_names_left_and_figures_right() -> None:
    """The head is underlined."""
    assert table([("what", "a"), ("long name", "1.5"), ("x", "20")]).splitlines() == [
        "what         a",
        "--------------",
        "long name  1.5",
        "x           20",
    ]


def test_goals_are_judged_by_the_figures() -> None:
    """Five times the turns at a third of the processor time, and sooner."""
    theirs = {name: measured(rate=10, system_ms=30, first_token=15) for name in (SINGLE.name, BUSY.name)}
    good = measured(rate=50, system_ms=10, first_token=14, lag=249)
    bad = measured(rate=49, system_ms=11, first_token=501, lag=250)
    names = (SINGLE.name, BUSY.name, PACED.name)
    reached = goals({"turnstream": dict.fromkeys(names, good), "llama-stack": theirs})
    missed = goals({"turnstream": dict.fromkeys(names, bad), "llama-stack": theirs})
    assert [goal.met for goal in reached] == [True] * 7
    assert [goal.met for goal in missed] == [True] + [False] * 6


def test_goals_without_their_figures_are_left_out() -> None:
    """One system alone is compared with nothing."""
    only = {"llama-stack": {BUSY.name: measured(rate=10, system_ms=30, first_token=15)}}
    assert goals(only) == []


def test_report_shows_both_systems_and_can_be_json() -> None:
    """A process that only one of them has leaves the other's cell empty."""
    results = {
        "turnstream": {BUSY.name: measured(rate=50, system_ms=10, first_token=14)},
        "llama-stack": {BUSY.name: measured(rate=10, system_ms=30, first_token=15)},
    }
    judged = goals(results)
    shown = text(results, None, judged)
    assert "5.0 times" in shown
    assert "MISSED" not in shown
    written = json.loads(json.dumps(document(results, None, judged, quick=True)))
    assert written["results"]["turnstream"][BUSY.name]["turns_per_second"] == pytest.approx(50)
