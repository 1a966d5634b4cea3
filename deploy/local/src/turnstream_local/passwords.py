"""Random passwords and keys, kept in files that only their owner reads."""

import json
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from turnstream.secrets import new_key

PASSWORD_BYTES = 24  # of randomness; written as twice as many hexadecimal digits, which need no quoting anywhere


def kept_passwords(path: Path, users: Iterable[str]) -> dict[str, str]:
    """Return a password for each user: the one in the file, or a new one that is then written there."""
    kept: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    passwords = {user: kept.get(user) or secrets.token_hex(PASSWORD_BYTES) for user in users}
    if passwords != kept:
        write_private(path, json.dumps(passwords, indent=2) + "\n")
    return passwords


def kept_key(path: Path) -> str:
    """Return the key that seals turns' secrets: the one in the file, or a new one that is then written there."""
    if not path.exists():
        write_private(path, new_key() + "\n")
    return path.read_text().strip()


def write_private(path: Path, text: str) -> None:
    """Write a file whole, mode 0600 from its first byte on; a crash leaves the old one or the new one."""
    partial = path.with_name(path.name + ".partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
