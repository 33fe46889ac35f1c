"""The driver's exceptions as the errors of `connectors.errors`.

Messages name what was being done and the server's code. The server's own text is left out: it can hold values of
documents; so are addresses: they can hold credentials.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bson.errors import BSONError
from pymongo.errors import (
    AutoReconnect,
    ConfigurationError,
    ConnectionFailure,
    CursorNotFound,
    ExecutionTimeout,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WaitQueueTimeoutError,
)

from tranship.connectors.errors import ConnectorError, PositionLostError, RefusedError, TransientError

CHANGE_STREAM_HISTORY_LOST = 286

_POSITION_LOST = frozenset(
    {
        CHANGE_STREAM_HISTORY_LOST,
        280,  # ChangeStreamFatalError: "cannot resume stream; the resume token was not found"
        136,  # CappedPositionLost: the oplog was overtaken while it was read
        260,  # InvalidResumeToken: not a token of this server
        40647,  # the same, as older servers say it
        50573,
    }
)
_NOT_ALLOWED = frozenset({11, 13, 18, 33, 8000})  # UserNotFound, Unauthorized, AuthenticationFailed, ...
_TRANSIENT = frozenset(
    {
        6, 7, 43, 50, 63, 64, 89, 91, 112, 133, 150, 175, 189, 202, 237, 246, 262, 290, 317, 358, 9001, 10058, 10107,
        11600, 11601, 11602, 13388, 13435, 13436, 234,
    }
)  # fmt: skip
"""The driver specification's retryable codes, and those of cursors and plans that were killed or timed out."""

_TEMPORARY = (AutoReconnect, ConnectionFailure, CursorNotFound, ExecutionTimeout, WaitQueueTimeoutError)


def translate(error: Exception, doing: str) -> ConnectorError:
    """The connector's error for a driver's; `doing` says what was under way."""
    if isinstance(error, OperationFailure):
        return _failure(error, doing)
    if isinstance(error, ServerSelectionTimeoutError):
        return TransientError(f"{doing}: no suitable MongoDB server answered in time; is it up, and has it a primary?")
    if isinstance(error, _TEMPORARY):
        return TransientError(f"{doing}: the connection to MongoDB failed ({type(error).__name__})")
    if isinstance(error, ConfigurationError):  # also InvalidURI
        return RefusedError(f"{doing}: the MongoDB URI or its options cannot be used ({type(error).__name__})")
    return ConnectorError(f"{doing}: {type(error).__name__}")


def _failure(error: OperationFailure, doing: str) -> ConnectorError:
    code = error.code or 0
    name = (error.details or {}).get("codeName") or "no name"
    what = f"{doing}: MongoDB answered with error {code} ({name})"
    if code in _POSITION_LOST or "resume point may no longer be in the oplog" in str(error):
        return PositionLostError(
            f"{what}: its history no longer reaches back to our position, so changes may have been missed"
        )
    if code in _NOT_ALLOWED:
        return RefusedError(f"{what}: check the credentials and the privileges of the user")
    transient = code in _TRANSIENT or error.has_error_label("TransientTransactionError")
    if transient or isinstance(error, _TEMPORARY):
        return TransientError(what)
    return RefusedError(what)


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Translate what the driver raises inside."""
    try:
        yield
    except (PyMongoError, BSONError) as error:
        # The driver's own exception is not chained: its text may hold what must not be shown.
        raise translate(error, doing) from None
