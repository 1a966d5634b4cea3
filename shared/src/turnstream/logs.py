"""Logs: one JSON object a line on standard output, with a stable `action`, never with a secret or a user's text."""

import logging
import sys

import orjson
import structlog
from structlog.contextvars import bind_contextvars, merge_contextvars
from structlog.processors import EventRenamer, JSONRenderer, TimeStamper, add_log_level, format_exc_info
from structlog.stdlib import ProcessorFormatter, add_logger_name, filter_by_level
from structlog.typing import Processor


def _dumps(value: object, **_: object) -> str:
    return orjson.dumps(value, default=str).decode()


_COMMON: list[Processor] = [merge_contextvars, add_log_level, TimeStamper(fmt="iso", utc=True), format_exc_info]

# Its processors are given here and not by structlog.configure, which is global: Llama Stack calls it too.
log: structlog.stdlib.BoundLogger = structlog.wrap_logger(
    logging.getLogger("turnstream"),
    processors=[filter_by_level, *_COMMON, EventRenamer("action"), JSONRenderer(_dumps)],
    wrapper_class=structlog.stdlib.BoundLogger,
)


def configure(service: str, level: str) -> None:
    """Send this process's logs, and the warnings of its libraries, to standard output as JSON."""
    bind_contextvars(service=service)
    ours = logging.StreamHandler(sys.stdout)
    logging.getLogger("turnstream").handlers = [ours]
    logging.getLogger("turnstream").propagate = False
    logging.getLogger("turnstream").setLevel(level.upper())
    theirs = logging.StreamHandler(sys.stdout)
    theirs.setLevel(logging.WARNING)
    theirs.setFormatter(
        ProcessorFormatter(
            processors=[ProcessorFormatter.remove_processors_meta, EventRenamer("message"), JSONRenderer(_dumps)],
            foreign_pre_chain=[*_COMMON, add_logger_name],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[theirs], force=True)
