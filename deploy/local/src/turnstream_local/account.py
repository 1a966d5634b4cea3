"""The account that PostgreSQL runs under: it refuses to run as root."""

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from turnstream_local.errors import DirectoryNotReachableError, MissingProgramError

CANDIDATES = ("postgres", "nobody")
PROBE_TIMEOUT = 10.0  # seconds


@dataclass(frozen=True)
class Account:
    """An unprivileged account of this machine."""

    name: str
    uid: int
    gid: int

    @classmethod
    def for_servers(cls) -> Self | None:
        """Return the account to change to when running as root, and None when there is nothing to change."""
        if os.geteuid() != 0:
            return None
        for name in CANDIDATES:
            try:
                entry = pwd.getpwnam(name)
            except KeyError:
                continue
            if entry.pw_uid != 0:
                return cls(name, entry.pw_uid, entry.pw_gid)
        raise MissingProgramError(
            f"PostgreSQL refuses to run as root, and none of the accounts {', '.join(CANDIDATES)} exists: "
            "run turnstream as an ordinary user"
        )

    def check_reaches(self, path: Path) -> None:
        """Raise DirectoryNotReachableError when the account cannot enter an existing directory."""
        if self._enters(path):
            return
        closed = next((parent for parent in reversed(path.parents) if not self._enters(parent)), path)
        raise DirectoryNotReachableError(
            f"PostgreSQL runs as {self.name!r} (it refuses root), which cannot enter {closed}, above the data in "
            f"{path}: choose another place with --data-dir, or run turnstream as an ordinary user"
        )

    def _enters(self, path: Path) -> bool:
        # Asking the kernel as that account is right with access lists too; reading mode bits is not.
        probe = subprocess.run(
            ["/bin/sh", "-c", 'cd -- "$1"', "sh", str(path)],
            user=self.uid,
            group=self.gid,
            extra_groups=[],
            cwd="/",
            stderr=subprocess.DEVNULL,
            timeout=PROBE_TIMEOUT,
            check=False,
        )
        return probe.returncode == 0
