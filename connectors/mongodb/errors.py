"""The driver's exceptions as the errors of `connectors.errors`.

Messages name what was being done, the server's code, and host and port of the servers that the driver's text names.
The server's own text is left out: it can hold values of documents; so are URIs: they can hold credentials.
"""

from __future__ import annotations

import re
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
_NOT_ALLOWED = frozenset({11, 13, 18, 33})  # UserNotFound, Unauthorized, AuthenticationFailed, ...
ATLAS_ERROR = 8000
"""Whatever Atlas' proxy refuses, a missing privilege as well as what the cluster's tier does not have."""

USER_WRITES_BLOCKED = 371
"""`setUserWriteBlockMode` is on: the strongest fence that an operator can raise stops our markers too."""

UNAUTHORIZED = 13

NOT_AUTHORISED = frozenset({UNAUTHORIZED, ATLAS_ERROR})
"""How a server says that this user may not give a command."""

NOT_ANSWERED = frozenset(
    {
        UNAUTHORIZED,
        59,  # CommandNotFound
        115,  # CommandNotSupported
        323,  # APIStrictError: a server that only takes its stable API
        ATLAS_ERROR,
    }
)
"""How a server says that this user may not give a command, or that it has no such command."""

_TRANSIENT = frozenset(
    {
        6, 7, 43, 50, 63, 64, 89, 91, 112, 133, 150, 175, 189, 202, 237, 246, 262, 290, 317, 358, 9001, 10058, 10107,
        11600, 11601, 11602, 13388, 13435, 13436, 234,
        24,  # LockTimeout
        134,  # ReadConcernMajorityNotAvailableYet: after a start or a failover
        211,  # KeyNotFound: a server that has just started has no keys yet to sign cluster times with
        355,  # InterruptedDueToStorageChange
        365,  # TemporarilyUnavailable
        462,  # IngressRequestRateLimitExceeded
        12586, 12587,  # BackgroundOperationInProgressForDatabase, ...ForNamespace
        28799,  # of `$sample`: "could not find a non-duplicate document ... please try again"
    }
)  # fmt: skip
"""The driver specification's retryable codes, and those of cursors and plans that were killed or timed out."""

_TRANSIENT_LABELS = (
    "TransientTransactionError",
    "ResumableChangeStreamError",
    "RetryableWriteError",
    "RetryableError",
    "SystemOverloadedError",
)
"""Labels by which the server itself calls an error temporary."""

_INVALID_OPTIONS = 72

_TEMPORARY = (AutoReconnect, ConnectionFailure, CursorNotFound, ExecutionTimeout, WaitQueueTimeoutError)

_UNREACHABLE = (
    (
        ("internal hostnames or IPs",),
        "the names that the replica set gives its members (rs.conf()) do not lead to them from here",
    ),
    (
        ("available for replica set name", "belongs to a set named"),
        "none is of the replica set that the URI names (replicaSet)",
    ),
    (("match selector", "available for writes"), "servers can be reached, but none of them is the primary"),
    (
        ("CERTIFICATE_VERIFY_FAILED",),
        "the server's certificate is not trusted: give its authority (tlsCAFile), and the host by its name there",
    ),
    (
        ("SSL handshake failed",),
        "the TLS handshake failed: check the URI's tls options, and on Atlas that its IP access list has this machine",
    ),
    (
        (
            "Name or service not known",
            "Temporary failure in name resolution",
            "No address associated with hostname",
            "nodename nor servname provided",
            "getaddrinfo failed",
        ),
        "a host name could not be looked up: one of the URI, or one that the replica set gives its members (rs.conf())",
    ),
    (("Connection refused", "actively refused"), "the connection was refused: is it up, and are host and port right?"),
    (
        ("connection closed", "Connection reset"),
        "the server closed the connection: check the URI's tls options, and on Atlas its IP access list",
    ),
)
"""What the driver's text has, and what it means, the most telling first. Only these words of it are looked for."""

_NO_ANSWER = "is it up, has it a primary, and do firewalls (on Atlas: the IP access list) let this machine in?"


def translate(error: Exception, doing: str) -> ConnectorError:
    """The connector's error for a driver's; `doing` says what was under way."""
    if isinstance(error, OperationFailure):
        return _failure(error, doing)
    if isinstance(error, ServerSelectionTimeoutError):
        places = _places(str(error))
        return TransientError(f"{doing}: no suitable MongoDB server answered in time{places}: {_unreachable(error)}")
    if isinstance(error, _TEMPORARY):
        return TransientError(
            f"{doing}: the connection to MongoDB failed{_places(str(error))} ({type(error).__name__})"
        )
    if isinstance(error, ConfigurationError) and type(error.__cause__).__module__.partition(".")[0] == "dns":
        return TransientError(
            f"{doing}: the servers behind the mongodb+srv address could not be looked up: check the address, and DNS"
        )
    if isinstance(error, ConfigurationError):  # also InvalidURI
        return RefusedError(f"{doing}: the MongoDB URI or its options cannot be used ({type(error).__name__})")
    return ConnectorError(f"{doing}: {type(error).__name__}")


def _places(text: str) -> str:
    """Host and port of the servers that a driver's text is about, which it puts first, and in its picture of them."""
    named = _FIRST_SERVER.findall(text)
    named += [f"{host}:{port}" for host, port in _SERVERS.findall(text)]
    places = ", ".join(dict.fromkeys(named))
    return f" ({places})" if places else ""


_FIRST_SERVER = re.compile(r"^([\w.-]+:\d{1,5}): ", re.ASCII)
_SERVERS = re.compile(r"<ServerDescription \('([\w.:-]+)', (\d{1,5})\)", re.ASCII)


def _failure(error: OperationFailure, doing: str) -> ConnectorError:
    code = error.code or 0
    name = (error.details or {}).get("codeName") or "no name"
    what = f"{doing}: MongoDB answered with error {code} ({name}){_operator(error)}"
    if code in _POSITION_LOST or "resume point may no longer be in the oplog" in str(error):
        return PositionLostError(
            f"{what}: its history no longer reaches back to our position, so changes may have been missed"
        )
    if code in _NOT_ALLOWED:
        return RefusedError(f"{what}: check the credentials and the privileges of the user")
    if code == ATLAS_ERROR:
        return RefusedError(f"{what}: check credentials, privileges and what the cluster's tier does not allow")
    if code == USER_WRITES_BLOCKED:
        return RefusedError(f"{what}: writes are blocked; our user needs the privilege bypassWriteBlockingMode")
    if _is_transient(error):
        return TransientError(what)
    return RefusedError(what)


_OPERATOR = re.compile(
    r"unknown (?:top level )?operator: (\$\w{1,40})|Unrecognized expression '(\$\w{1,40})'|"
    r"(\$[A-Za-z]{1,40}) (?=needs|argument)",
    re.ASCII,
)


def _operator(error: OperationFailure) -> str:
    """Which operator of a filter the server does not take: of its text only that name, which is the plan's."""
    found = _OPERATOR.match(str((error.details or {}).get("errmsg", "")))
    return f", which is about the operator {next(filter(None, found.groups()))}" if found else ""


def _is_transient(error: OperationFailure) -> bool:
    # A new primary's clock may be behind the time that we ask to read after.
    ahead = error.code == _INVALID_OPTIONS and "afterClusterTime" in str(error)
    labelled = any(map(error.has_error_label, _TRANSIENT_LABELS))
    return ahead or labelled or error.code in _TRANSIENT or isinstance(error, _TEMPORARY)


def _unreachable(error: ServerSelectionTimeoutError) -> str:
    text = str(error)
    return next((what for words, what in _UNREACHABLE if any(word in text for word in words)), _NO_ANSWER)


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Translate what the driver raises inside."""
    try:
        yield
    except (PyMongoError, BSONError) as error:
        # The driver's own exception is not chained: its text may hold what must not be shown.
        raise translate(error, doing) from None
