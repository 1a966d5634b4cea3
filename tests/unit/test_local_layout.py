"""The data directory: its place, its lock, and its socket directories."""

import os
import stat
from pathlib import Path

import pytest

from turnstream_local.errors import DataDirectoryInUseError, DirectoryNotReachableError
from turnstream_local.layout import DataDirectory, default_data_directory


def test_only_one_holds_the_lock(tmp_path: Path) -> None:
    """A second lock is refused while the first is held, and granted after it."""
    data = DataDirectory(tmp_path)
    with data.lock(), pytest.raises(DataDirectoryInUseError, match="--data-dir"), data.lock():
        pass
    with data.lock():
        pass


def test_others_see_nothing(tmp_path: Path) -> None:
    """No folder can be listed by others; root's can be passed through, for PostgreSQL's account."""
    data = DataDirectory(tmp_path / "data")
    data.create()
    data.create()
    for folder in (data.root, data.postgres, data.logs, data.nats, data.pids):
        assert folder.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH | stat.S_IWGRP | stat.S_IWOTH) == 0
    assert data.nats.stat().st_mode & 0o077 == 0


def test_socket_directories_are_short_private_and_stable(tmp_path: Path) -> None:
    """However long the data directory's path is, a socket in it stays below the limit of unix sockets."""
    data = DataDirectory(tmp_path / ("long" * 40))
    sockets = data.sockets("notify")
    assert len(os.fsencode(sockets.path / ".s.PGSQL.5432.lock")) < 103
    assert data.sockets("notify").path == sockets.path
    assert data.sockets("postgres").path != sockets.path
    sockets.create()
    sockets.create()
    assert sockets.path.stat().st_mode & 0o777 == 0o700
    sockets.remove()
    assert not sockets.path.exists()


def test_a_socket_directory_that_others_can_enter_is_refused(tmp_path: Path) -> None:
    """A directory that someone may have put in place to listen in is not used."""
    sockets = DataDirectory(tmp_path).sockets("notify")
    sockets.path.mkdir()
    sockets.path.chmod(0o777)
    with pytest.raises(DirectoryNotReachableError, match=str(sockets.path)):
        sockets.create()
    sockets.remove()


def test_a_link_in_place_of_a_socket_directory_is_refused(tmp_path: Path) -> None:
    """A link that leads to a private directory elsewhere is not followed."""
    sockets = DataDirectory(tmp_path).sockets("notify")
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    sockets.path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DirectoryNotReachableError):
        sockets.create()
    sockets.path.unlink()


def test_the_default_place_needs_no_directory_to_be_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Root's data lies in /var/lib; a user's below the state directory that the desktop standard names."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_data_directory() == Path("/var/lib/turnstream")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_STATE_HOME", "/home/someone/state")
    assert default_data_directory() == Path("/home/someone/state/turnstream")
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert default_data_directory() == Path("/home/someone/.local/state/turnstream")
