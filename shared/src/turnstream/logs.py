"""Logs: one JSON object a line on standard output, with a stable `action`, never with a secret or a user's text."""

import logging
import sys
import traceback
from typing import Any

import orjson
import structlog
from structlog.processors import EventRenamer, JSONRenderer, TimeStamper, add_log_level, format_exc_info
from structlog.stdlib import ProcessorFormatter, add_logger_name
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger


class _Output:
    """Writes lines to standard output and holds what is the same for all of a process's lines."""

    def __init__(self) -> None:
        self.service = ""
        self.level = logging.INFO

    def write(self, line: bytes) -> None:
        sys.stdout.buffer.write(line + b"\n")
        sys.stdout.buffer.flush()

    debug = info = warning = error = critical = write


_output = _Output()


def configure(service: str, level: str) -> None:
    """Send this process's logs from `level` on, and its libraries' warnings, to standard output as JSON."""
    _output.service = service
    _output.level = logging.getLevelNamesMapping()[level.upper()]
    libraries = logging.StreamHandler(sys.stdout)
    libraries.setLevel(logging.WARNING)
    libraries.setFormatter(
        ProcessorFormatter(
            processors=[
                ProcessorFormatter.remove_processors_meta,
                EventRenamer("message"),
                JSONRenderer(lambda value, **_: _dumps(value).decode()),
            ],
            foreign_pre_chain=[*_COMMON, add_logger_name],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[libraries], force=True)


def fault(error: BaseException) -> dict[str, Any]:
    """Return what is logged of an error that nobody foresaw: its class and where it arose.

    Its message is left out: libraries quote in theirs what they were given, which may be a user's.
    """
    return {"error": type(error).__name__, "frames": traceback.format_tb(error.__traceback__)}


def _drop_below(_logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    if logging.getLevelNamesMapping()[method.upper()] < _output.level:
        raise structlog.DropEvent
    return event


def _add_service(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    event["service"] = _output.service
    return event


def _dumps(value: object, **_: Any) -> bytes:
    return orjson.dumps(value, default=str)


_COMMON: list[Processor] = [_add_service, add_log_level, TimeStamper(fmt="iso", utc=True), format_exc_info]

# Its processors are given here and not by structlog.configure, which is global: Llama Stack calls it too.
log: FilteringBoundLogger = structlog.wrap_logger(
    _output,
    processors=[_drop_below, *_COMMON, EventRenamer("action"), JSONRenderer(_dumps)],
    wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
    cache_logger_on_first_use=True,
)
