"""What another attempt shows of an output that a dead one has begun: the rest, and nothing twice."""

import pytest
from support.output_events import MESSAGE_ORDER, done, joined, kinds, sequence, written, written_after
from support.output_steps import OUTPUTS, STREAMED, announce, announce_own, close, close_left_open, text


@pytest.mark.parametrize("output", OUTPUTS)
async def test_announcing_what_was_shown_in_part(output: str) -> None:
    """Wherever the attempt died that stored an output, the next one shows the rest of it and repeats nothing."""
    events, items = await written(*OUTPUTS[output], announce_own)
    for cut in range(len(events) + 1):
        resumed, _ = await written_after(events[:cut], announce(*items), close_left_open)
        assert resumed[:cut] == events[:cut]
        assert joined(resumed) == sequence(items), f"cut behind event {cut}"


@pytest.mark.parametrize("output", STREAMED)
async def test_closing_what_a_dead_attempt_left(output: str) -> None:
    """Wherever an attempt died, the next closes what it left open as incomplete, and puts out its own behind it."""
    events, _ = await written(*STREAMED[output])
    for cut in range(1, len(events) + 1):
        again = (close_left_open, *STREAMED[output], close_left_open)  # before the engine runs, and when it has ended
        resumed, items = await written_after(events[:cut], *again)
        whole = done(events[:cut])
        closed = done(resumed)[len(whole) : -len(items)]
        assert [item["status"] for item in closed] == ["incomplete"] * (
            kinds(events[:cut]).count(MESSAGE_ORDER[0]) - len(whole)
        )
        assert joined(resumed) == sequence([*whole, *closed, *items]), f"cut behind event {cut}"


async def test_left_open_keeps_what_it_said() -> None:
    """What a dead attempt left open is closed with what it streamed, and is no item of the turn."""
    events, _ = await written(text("output_text", "hel"))
    resumed, items = await written_after(events, close_left_open, text("output_text", "hello"), close())
    left, whole = done(resumed)
    assert left["content"][0]["text"] == "hel"
    assert items == [whole]
