"""Logs: structlog, pretty on a terminal and JSON elsewhere, bound to run and phase, without secrets.

Nothing that holds a secret is ever passed to a logger; the processor below is the second line of defence, for driver
messages that quote a connection string.
"""

from __future__ import annotations

import logging
import re
import sys
from typing import Any

import structlog
from structlog.typing import EventDict, WrappedLogger

_CREDENTIALS = re.compile(r"(\w[\w+.-]*://)[^@/\s]*@|(password=)('[^']*'|\S+)", re.IGNORECASE)


def without_secrets(value: str) -> str:
    """The text with credentials of URIs and `password=` settings masked."""
    return _CREDENTIALS.sub(lambda m: f"{m[1]}***@" if m[1] else f"{m[2]}***", value)


def _mask(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {k: without_secrets(v) if isinstance(v, str) else v for k, v in event.items()}


def default_format() -> str:
    """`pretty` when a person watches, else `json`."""
    return "pretty" if sys.stderr.isatty() else "json"


def configure(log_format: str, **bound: Any) -> None:
    """Set up logging of this process to standard error. Safe to call again."""
    renderer: Any = (
        structlog.dev.ConsoleRenderer() if log_format == "pretty" else structlog.processors.JSONRenderer(sort_keys=True)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _mask,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    # A connection that breaks while it goes back to the pool is logged there with its traceback; it is raised, too.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(**bound)
