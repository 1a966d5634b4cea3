"""The processor time that processes take, with that of all their children."""

from collections.abc import Mapping

import psutil

from bench.errors import ProcessEndedError


def processor_seconds(pids: Mapping[str, int]) -> dict[str, float]:
    """Return what each process has taken so far, in seconds: itself, its living children and those it has buried."""
    return {name: _tree(name, pid) for name, pid in pids.items()}


def machine_seconds() -> float:
    """Return what everything on this machine has taken so far, in seconds; its host's other guests too, if it tells."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + getattr(times, "steal", 0.0))


def _tree(name: str, pid: int) -> float:
    try:
        process = psutil.Process(pid)
        # A PostgreSQL backend that has ended goes on counting: its parent has waited for it.
        return sum(_own(each) for each in (process, *process.children(recursive=True)))
    except psutil.NoSuchProcess:
        raise ProcessEndedError(f"{name} ended while it was measured") from None


def _own(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0  # ended since it was listed
    return times.user + times.system + times.children_user + times.children_system
