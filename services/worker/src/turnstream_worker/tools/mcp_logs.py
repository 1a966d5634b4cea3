"""Keeps what servers are asked and answer out of the logs: MCP's library quotes it, and HTTP's the URLs."""

import logging

import mcp.shared.session


def silence() -> None:
    """Have the libraries log nothing of it, in the whole process."""
    for name in ("mcp", "client"):  # the latter is MCP's, too
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger().addFilter(_is_no_sessions)


def _is_no_sessions(record: logging.LogRecord) -> bool:
    """Tell whether a record of the root logger is not one of MCP's sessions, which log by it."""
    return record.pathname != mcp.shared.session.__file__
