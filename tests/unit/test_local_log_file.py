"""A child's log is bounded and readable from the end."""

from pathlib import Path

from turnstream_local.log_file import LogFile


def test_tail_is_of_the_current_run_only(tmp_path: Path) -> None:
    """The end of the log holds nothing of the run before."""
    log = LogFile(tmp_path / "child.log")
    with log.open() as file:
        file.write(b"an earlier run\n")
    with log.open() as file:
        file.write(b"one\ntwo\nthree\n")
    assert log.tail(lines=2) == "two\nthree"
    assert log.tail() == "one\ntwo\nthree"


def test_a_log_that_grew_too_large_is_moved_aside_under_its_writer(tmp_path: Path) -> None:
    """The writer's open file goes on at the start of the emptied one."""
    log = LogFile(tmp_path / "child.log", max_bytes=10)
    with log.open() as file:
        file.write(b"more than ten bytes\n")
        file.flush()
        log.bound()
        file.write(b"after\n")
    assert log.tail() == "after"
    assert (tmp_path / "child.log.1").read_text() == "more than ten bytes\n"


def test_a_log_that_was_never_written_has_an_empty_tail(tmp_path: Path) -> None:
    """A child that could not be started at all has no log."""
    assert LogFile(tmp_path / "child.log").tail() == ""
