"""What can keep a benchmark from giving figures."""


class BenchError(Exception):
    """The root of the benchmarks' own errors; the text is for the operator."""


class LoadError(BenchError):
    """The load could not be put on the system."""


class ProcessEndedError(BenchError):
    """One of the system's processes ended while it was measured."""
