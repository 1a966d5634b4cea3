"""The command's own answers."""

from pathlib import Path

import pytest

from turnstream_local.cli import main
from turnstream_local.programs import real_model_configured
from turnstream_local.turn_client import Turn


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["dance"],
        ["up", "--workers", "0"],
        ["up", "--port", "0"],
        ["up", "--port", "70000"],
        ["keys"],
        ["keys", "create"],
        ["keys", "create", "Acme"],
        ["keys", "create", "a.b"],
        ["keys", "create", "*"],
        ["keys", "create", ""],
        ["keys", "create", "acme\n"],
        ["keys", "create", "a" * 65],
        ["keys", "create", "acme", "--name", "a\nb"],
        ["keys", "create", "acme", "--name", "a" * 65],
        ["keys", "revoke"],
        ["dead-letters"],
        ["dead-letters", "show"],
        ["dead-letters", "list", "--limit", "many"],
        ["dead-letters", "list", "--url", "127.0.0.1:8321"],
        ["dead-letters", "list", "--url", "ftp://gateway"],
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The command ends with 2 and shows its usage."""
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert "usage: turnstream" in capsys.readouterr().err


def test_keys_of_a_system_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A data directory without a database is named, and left as it was."""
    with pytest.raises(SystemExit) as exit_:
        main(["keys", "list", "--data-dir", str(tmp_path / "nothing")])
    assert exit_.value.code == 2
    assert f"there is no Turnstream in {tmp_path / 'nothing'}" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_model_counts_as_configured_when_its_setting_is_not_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any of the settings is enough; an empty one is none."""
    for name in ("OPENAI_API_KEY", "TOGETHER_API_KEY", "OLLAMA_URL", "VLLM_URL", "LLAMA_STACK_URL"):
        monkeypatch.setenv(name, "")
    assert not real_model_configured()
    monkeypatch.setenv("OLLAMA_URL", "http://127.0.0.1:11434")
    assert real_model_configured()


@pytest.mark.parametrize(
    ("turn", "kept"),
    [
        (Turn(9, contiguous=True, first_token=0.01, last_event="response.completed"), True),
        (Turn(9, contiguous=False, first_token=0.01, last_event="response.completed"), False),
        (Turn(9, contiguous=True, first_token=None, last_event="response.completed"), False),
        (Turn(9, contiguous=True, first_token=0.01, last_event="response.failed"), False),
    ],
)
def test_a_turn_is_as_promised_only_when_completed_with_text_and_without_gaps(turn: Turn, *, kept: bool) -> None:
    """The demo fails on a gap, on silence, and on any other end."""
    assert turn.as_promised is kept
    assert turn.last_event in turn.summary
