"""Logs: structlog, sentences on a terminal and JSON elsewhere, bound to run and phase, without secrets.

What a person has to know comes with a `sentence`; a terminal shows that, warnings and errors, and nothing else. JSON
has every line with its data, and without the sentence.

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

_CREDENTIALS = re.compile(
    r"(\w[\w+.-]*://)[^@/\s]*@|(password=|AWS_SESSION_TOKEN(?::|%3A))('[^']*'|[^\s,&]+)", re.IGNORECASE
)


def without_secrets(value: str) -> str:
    """The text with credentials of URIs and `password=` settings masked, and session tokens."""
    return _CREDENTIALS.sub(lambda m: f"{m[1]}***@" if m[1] else f"{m[2]}***", value)


def _mask(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {k: without_secrets(v) if isinstance(v, str) else v for k, v in event.items()}


def _for_people(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    at, level, name = str(event.pop("timestamp"))[11:19], event.pop("level"), event.pop("event")
    said, trace = event.pop("sentence", None), event.pop("exception", None)
    if said is not None:
        return f"{at}  {said}"
    if level == "info":
        raise structlog.DropEvent
    bound = structlog.contextvars.get_contextvars()
    data = ", ".join(f"{key} {value}" for key, value in event.items() if value is not None and key not in bound)
    return f"{at}  {level}: {name}" + (f" ({data})" if data else "") + (f"\n{trace}" if trace else "")


def _for_programs(logger: WrappedLogger, method: str, event: EventDict) -> str:
    event.pop("sentence", None)
    return str(_json(logger, method, event))


_json = structlog.processors.JSONRenderer(sort_keys=True)


def default_format() -> str:
    """`pretty` when a person watches, else `json`."""
    return "pretty" if sys.stderr.isatty() else "json"


def configure(log_format: str, **bound: Any) -> None:
    """Set up logging of this process to standard error. Safe to call again."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _mask,
            _for_people if log_format == "pretty" else _for_programs,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        # Looked up anew for each line: a live view puts its own stream in the place of this one.
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )
    # A connection that breaks while it goes back to the pool is logged there with its traceback; it is raised, too.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(**bound)
