"""The data directory: where everything of one installation lies."""

import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from turnstream_local.account import Account
from turnstream_local.errors import DataDirectoryInUseError, DirectoryNotReachableError

PRIVATE = 0o700  # for the owner alone
NOTIFY_SOCKETS = "notify"
POSTGRES_SOCKETS = "postgres"
MAX_TEMPORARY_PATH = 50  # bytes; a socket's whole path may have 103 (macOS) or 107 (Linux)


class DataDirectory:
    """The folders below one data directory; `create` makes them."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.logs = self.root / "logs"
        self.pids = self.root / "pids"
        self.nats = self.root / "nats"
        self.postgres = self.root / "postgres"

    def create(self) -> None:
        """Make the folders. Root's can be entered, not listed: PostgreSQL's account passes through to its own."""
        passage = 0o711 if os.geteuid() == 0 else PRIVATE
        self.root.mkdir(mode=passage, parents=True, exist_ok=True)
        self.postgres.mkdir(mode=passage, exist_ok=True)
        for folder in (self.logs, self.pids, self.nats):
            folder.mkdir(mode=PRIVATE, exist_ok=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the directory for this process; raise DataDirectoryInUseError when another holds it."""
        descriptor = os.open(self.root / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise DataDirectoryInUseError(
                    f"another turnstream runs on {self.root}: stop it, or choose another place and port with "
                    "--data-dir and --port"
                ) from error
            yield
        finally:
            os.close(descriptor)

    def sockets(self, name: str, owner: Account | None = None) -> "SocketDirectory":
        """Return the place of unix sockets of one kind: the same place for the same data directory."""
        return SocketDirectory(self.root, name, owner)


class SocketDirectory:
    """A private directory with a short path, since a unix socket's path is limited to about a hundred bytes."""

    def __init__(self, root: Path, name: str, owner: Account | None) -> None:
        digest = hashlib.sha256(f"{root.resolve()}\0{name}".encode()).hexdigest()[:12]
        self.path = _short_temporary_directory() / f"turnstream-{digest}"
        self._owner = owner

    def create(self) -> None:
        """Make the directory; refuse one that someone else may have put there or can look into."""
        uid = self._owner.uid if self._owner else os.geteuid()
        try:
            self.path.mkdir(mode=PRIVATE)
            if self._owner:
                os.chown(self.path, self._owner.uid, self._owner.gid)
        except FileExistsError:
            found = self.path.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != uid or stat.S_IMODE(found.st_mode) != PRIVATE:
                raise DirectoryNotReachableError(
                    f"{self.path} is not a private directory of uid {uid}: remove it, and start again"
                ) from None

    def remove(self) -> None:
        """Remove the directory with the sockets of processes that are gone."""
        shutil.rmtree(self.path, ignore_errors=True)


def default_data_directory() -> Path:
    """Return where the data lies unless told otherwise: never below a directory that would have to be opened."""
    if os.geteuid() == 0:
        return Path("/var/lib/turnstream")
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "turnstream"


@contextmanager
def temporary_data_directory() -> Iterator[Path]:
    """Yield a data directory that is removed at the end, where PostgreSQL's account reaches it too."""
    path = Path(tempfile.mkdtemp(prefix="turnstream-", dir=_short_temporary_directory()))
    try:
        path.chmod(0o711 if os.geteuid() == 0 else PRIVATE)
        yield path
    finally:
        data = DataDirectory(path)
        for name in (NOTIFY_SOCKETS, POSTGRES_SOCKETS):
            data.sockets(name).remove()
        shutil.rmtree(path)


def _short_temporary_directory() -> Path:
    # Not XDG_RUNTIME_DIR: it is wiped at logout, under a system that goes on running.
    path = tempfile.gettempdir()
    return Path(path if len(os.fsencode(path)) <= MAX_TEMPORARY_PATH else "/tmp")  # noqa: S108 - used with mkdtemp, or checked
