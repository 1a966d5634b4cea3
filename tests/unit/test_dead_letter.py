"""What a dead letter says of a turn, and what not."""

from dataclasses import replace
from datetime import UTC, datetime

from support.turns import a_turn

from turnstream.dead_letter import STEPS_KEPT, DeadLetter, Entry
from turnstream.steps import Step

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECRET = "what the user said"


def a_step(number: int) -> Step:
    """Make a step that has a secret wherever there can be one."""
    items = [{"type": "function_call", "arguments": SECRET}]
    return Step(number, "tool_call", "web_search", 1, "finished", SECRET.encode(), items, {"said": SECRET}, NOW, None)


def a_letter(steps: int) -> DeadLetter:
    """Make the letter about a turn that failed with so many steps behind it."""
    error = {"code": "max_attempts", "message": "The turn was begun 3 times and never ended."}
    turn = replace(a_turn(), request={"model": SECRET}, input=[{"content": SECRET}], output=[], error=error)
    return DeadLetter.about(turn, [a_step(number) for number in range(steps)], attempts=3)


def test_why() -> None:
    """A letter names the turn, its tenant, and why it was given up after how many attempts."""
    letter = a_letter(1)
    assert (letter.turn, letter.tenant, letter.code, letter.attempts) == ("resp_1", "default", "max_attempts", 3)
    assert letter.message == "The turn was begun 3 times and never ended."
    assert letter.steps == [Entry(0, "tool_call", "web_search", 1, "finished", NOW, None)]


def test_only_the_journals_end_is_kept() -> None:
    """However long the journal is, a letter holds its last ten steps."""
    assert [step.number for step in a_letter(25).steps] == list(range(15, 25))
    assert STEPS_KEPT == 10


def test_nothing_of_what_was_said_is_kept() -> None:
    """A letter holds nothing of what the turn and its steps were asked and answered."""
    assert SECRET not in a_letter(3).encode().decode()


def test_a_newer_versions_letter() -> None:
    """What only a newer version writes into a letter is passed over."""
    letter = a_letter(1)
    assert DeadLetter.decode(letter.encode()[:-1] + b',"weather":"fine"}') == letter
