"""A system that runs and can be measured."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from turnstream_local.layout import DataDirectory
from turnstream_local.orphans import ChildRecord

STAND_IN = "stand-in"


@dataclass(frozen=True)
class Running:
    """Where a system answers, and which processes it consists of."""

    name: str
    port: int
    model: str  # the stand-in's id there
    pids: Mapping[str, int]  # by process name, the stand-in model's included


def recorded_pids(data_dir: Path) -> dict[str, int]:
    """Return the processes that were started on a data directory, by name."""
    records = {path.stem: ChildRecord.read(path) for path in sorted(DataDirectory(data_dir).pids.glob("*.json"))}
    return {name: record.pid for name, record in records.items() if record}
