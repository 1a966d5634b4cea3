"""Passwords are kept, and kept private."""

from pathlib import Path

from pydantic import SecretStr

from turnstream.secrets import Secrets
from turnstream_local.passwords import kept_key, kept_passwords, write_private


def test_passwords_are_kept_and_differ(tmp_path: Path) -> None:
    """The second reading gives what the first one made, and no two users share a password."""
    first = kept_passwords(tmp_path / "passwords.json", ("gateway", "worker"))
    assert kept_passwords(tmp_path / "passwords.json", ("gateway", "worker")) == first
    assert len(set(first.values())) == 2
    assert all(len(password) >= 32 for password in first.values())


def test_a_new_user_gets_a_password_and_the_others_keep_theirs(tmp_path: Path) -> None:
    """A later version with one more user leaves running clients' passwords alone."""
    first = kept_passwords(tmp_path / "passwords.json", ("gateway",))
    second = kept_passwords(tmp_path / "passwords.json", ("gateway", "worker"))
    assert second["gateway"] == first["gateway"]
    assert second["worker"]


def test_key_is_kept(tmp_path: Path) -> None:
    """What was sealed before a restart is read after it: the second reading gives the key that the first one made."""
    path = tmp_path / "secrets.key"
    sealed = Secrets(SecretStr(kept_key(path))).seal("resp_1", {"a": 1})
    assert Secrets(SecretStr(kept_key(path))).open("resp_1", sealed) == {"a": 1}
    assert path.stat().st_mode & 0o777 == 0o600


def test_private_files_are_private_and_whole(tmp_path: Path) -> None:
    """A file is readable by its owner only, also over an older one that was not."""
    path = tmp_path / "secret"
    path.write_text("an older one")
    path.chmod(0o644)
    write_private(path, "secret")
    assert path.read_text() == "secret"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]
