"""The processor time that processes take, with that of all their children."""

from collections.abc import Mapping

import psutil


def processor_seconds(pids: Mapping[str, int]) -> dict[str, float]:
    """Return what each process has taken so far, in seconds: itself, its living children and those it has buried."""
    return {name: _tree(psutil.Process(pid)) for name, pid in pids.items()}


def _tree(process: psutil.Process) -> float:
    # A PostgreSQL backend that has ended goes on counting: its parent has waited for it.
    return sum(_own(each) for each in (process, *process.children(recursive=True)))


def _own(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0  # ended since it was listed
    return times.user + times.system + times.children_user + times.children_system
