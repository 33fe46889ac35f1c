"""Drivers' errors (psycopg, SQLAlchemy, ADBC) become the connector's, by SQLSTATE.

Messages keep the server's primary message, and DETAIL only where it names objects of the catalog (`_OF_OBJECTS`): other
DETAIL lines, parameters and refused values hold rows, and a failed connection's text may hold a URI. For the same
reason the driver's exception is not chained. HINT is left out: it tells people to write CASCADE.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from tranship.connectors.errors import (
    AmbiguousCommitError,
    ConnectorError,
    RefusedError,
    RowRefusedError,
    TransientError,
)
from tranship.connectors.postgresql.servers import NOBODY, Server

if TYPE_CHECKING:
    import adbc_driver_manager


class ConnectionLostError(TransientError):
    """The session is gone. During COMMIT its outcome is unknown; before, nothing was committed."""


class LockTimeoutError(TransientError):
    """A lock was not granted in time."""


class ConstraintError(ConnectorError):
    """A constraint refused a row. `table` is the one that has the constraint, in `schema`."""

    def __init__(self, message: str, table: str = "", constraint: str = "", schema: str = "") -> None:
        super().__init__(message)
        self.table = table
        self.constraint = constraint
        self.schema = schema


class DuplicateError(ConstraintError):
    """A unique constraint refused a row (23505)."""


class RowError(RowRefusedError):
    """A row does not fit: a value is out of its type's range, a rule of the table forbids it (NOT NULL, CHECK,
    exclusion), or it is too wide for a page or an index."""


class ReferredError(ConstraintError):
    """A foreign key refused a change (23503, 23001)."""


_CONSTRAINTS = {"23505": DuplicateError, "23503": ReferredError, "23001": ReferredError}

_ROWS = ("22", "23502", "23514", "23P01", "54000")
"""Data exceptions, NOT NULL, CHECK, exclusion, and what a page or an index entry cannot hold."""

_LOST = ("08", "57P01", "57P02", "57P03", "57P05", "25P03", "25P04")
"""Connection exceptions; the server shuts down, crashed, starts up, ended an idle session or a long transaction."""

_TRANSIENT = ("40001", "40P01", "53", "57014", "58030")
"""Serialization failure, deadlock, no resources, statement cancelled, I/O error."""

_REFUSED = ("0A", "25006", "28", "2BP01", "3D000", "3F000", "42501", "54", "55000", "58P01")
"""Not supported, read-only, credentials, something depends on it, no such database or schema, privileges, limits."""

_KINDS: tuple[tuple[tuple[str, ...], type[ConnectorError]], ...] = (
    (_ROWS, RowError),
    (("55P03",), LockTimeoutError),
    (_LOST, ConnectionLostError),
    (_TRANSIENT, TransientError),
    (_REFUSED, RefusedError),
)
"""First match wins."""

_OF_OBJECTS = ("2BP01", "0A000")
"""Something depends on it, a table that a foreign key refers to: DETAIL says which objects these are."""

_MOST_DETAIL = 500
"""Characters of it: a list of objects may be long."""

_FINAL = (
    "authentication failed",
    "no pg_hba.conf entry",
    "does not exist",
    "permission denied",
    "not permitted to log in",
    "unsupported frontend protocol",
    "unrecognized configuration parameter",
    "invalid value for parameter",
    "not accept connections",
    "requires SSL",
)
"""Server messages at connect that no patience mends; libpq gives no SQLSTATE there. A server may speak another
language: what is not known is tried again, and said when patience ends. Pinned by a test."""

_BAD_URI = (
    "the connection URI cannot be read: in user and password write @ as %40, / as %2F, % as %25; a port is a number"
)

_OURS: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("no password supplied",),
        "the server asks for a password, and there is none: give one in the URI (${env:…} or ${file:…}), or in "
        "~/.pgpass with mode 0600",
    ),
    (
        ("has group or world access",),
        "the private key's file (sslkey) may be read by others than its owner: chmod 0600",
    ),
    (
        ("root certificate file", "does not exist"),
        "the file with the authority's certificate is missing, without which sslmode verify-ca or verify-full trusts "
        "nobody: give its path (sslrootcert=…; without it ~/.postgresql/root.crt is read), or sslrootcert=system for "
        "the authorities that this machine trusts",
    ),
    (
        ("root certificate file", "could not read"),
        "the file with the authority's certificate (sslrootcert) holds none that can be read: it has to be PEM",
    ),
    (("could not read certificate file",), "our certificate's file (sslcert) cannot be read: it has to be PEM"),
    (("certificate present, but not private key",), "there is a certificate of ours, but not its key: give sslkey"),
    (("private key file",), "our private key's file (sslkey) cannot be read, or is not the certificate's"),
    (("definition of service",), "the URI's service is in no service file (~/.pg_service.conf, PGSERVICEFILE)"),
    (("service file",), "the file of services (PGSERVICEFILE) is missing or cannot be read"),
    (
        ("authentication method requirement", "failed"),
        "the server does not ask for what the URI's require_auth demands: it may be another server than meant, or its "
        "pg_hba.conf has another method",
    ),
    (
        ("requirepeer specifies",),
        "the server's process belongs to another user of its machine than the URI's requirepeer names",
    ),
    (("channel binding",), "the server does not do the channel binding that the URI demands: it needs TLS and SCRAM"),
    (("weak sslmode",), "with sslrootcert=system the URI needs sslmode=verify-full"),
    (("GSSAPI encryption required",), "the URI's gssencmode needs Kerberos credentials, and there are none"),
    (("gssencmode value",), "the URI's gssencmode needs Kerberos, which this program's libpq does not have"),
    (("invalid", "value:"), "an option of the URI has a value that it cannot have"),
)
"""What libpq refuses by itself, whether the server is there or not: words of its text, all of them, and what a person
has to do. No patience mends these; names of files, users and services are left out. Pinned by a test."""

_CAUSES: tuple[tuple[tuple[str, ...], type[ConnectorError], str], ...] = (
    (("percent-encoded", "invalid port", "invalid integer value", "Servname"), RefusedError, _BAD_URI),
    (
        ("SSL SYSCALL error", "unexpected eof", "has been closed unexpectedly"),
        ConnectionLostError,
        "it hung up, as one does that is stopping, or that does not speak what the URI's sslmode asks for",
    ),
    (
        ("SSL", "certificate"),
        RefusedError,
        "the server does not take the URI's sslmode, or its certificate is not trusted",
    ),
    (("resolve host", "translate host"), TransientError, f"the host name has no address; or {_BAD_URI}"),
    (
        ("session is read-only", "hot standby mode"),
        ConnectionLostError,
        "of these servers none takes writes, as while another one becomes the primary (or "
        "default_transaction_read_only is on there)",
    ),
)
"""What libpq and psycopg say of connections that never came about, any of the words; they quote parts of the URI.
Pinned by a test."""

_NEW_COLUMN = "feed"
_EARLIER = (
    "the state schema was made by an earlier tranship; the next `tranship run`, `tranship resume` or "
    "`tranship rollback` of a run in it brings it up to date"
)

_DRIVER_ERRORS = (psycopg.Error, SQLAlchemyError)
"""ADBC's are caught where it is used (`datasessions`), so that who handles no rows need not load it."""


@contextmanager
def translating(server: Server = NOBODY) -> Iterator[None]:
    """Raise drivers' errors as the connector's. `server`: whom messages about the connection name."""
    try:
        yield
    except _DRIVER_ERRORS as error:
        raise translate(error, server) from None


@contextmanager
def committing(server: Server = NOBODY) -> Iterator[None]:
    """Around COMMIT: a connection that is lost here leaves the outcome unknown."""
    try:
        with translating(server):
            yield
    except ConnectionLostError as error:
        raise AmbiguousCommitError(
            f"the connection to PostgreSQL was lost during COMMIT, its outcome is unknown: {error}"
        ) from None


def translate(error: Exception, server: Server = NOBODY) -> ConnectorError:
    """The connector's error for a driver's one."""
    if isinstance(error, DBAPIError) and isinstance(error.orig, Exception):
        error = error.orig
    if isinstance(error, psycopg.Error):
        return _from_psycopg(error, server)
    return ConnectorError(f"PostgreSQL: {type(error).__name__}")


def _from_psycopg(error: psycopg.Error, server: Server) -> ConnectorError:
    if error.sqlstate is not None:
        diagnosis = error.diag
        return _by_state(
            error.sqlstate,
            diagnosis.message_primary or "",
            detail=diagnosis.message_detail or "",
            server=server,
            schema=diagnosis.schema_name or "",
            table=diagnosis.table_name or "",
            constraint=diagnosis.constraint_name or "",
        )
    if isinstance(error, psycopg.OperationalError):
        return _without_state(str(error), server)
    if isinstance(error, psycopg.ProgrammingError) and ("URI" in str(error) or "percent-encoded" in str(error)):
        return RefusedError(f"PostgreSQL: {_BAD_URI}")
    return ConnectorError(f"PostgreSQL driver: {type(error).__name__}")


def from_adbc(error: adbc_driver_manager.Error, server: Server) -> ConnectorError:
    """The connector's error for one of the data driver."""
    if error.sqlstate:
        details = {_text(name): _text(value) for name, value in error.details}
        return _by_state(
            error.sqlstate,
            details.get("PG_DIAG_MESSAGE_PRIMARY", ""),
            detail=details.get("PG_DIAG_MESSAGE_DETAIL", ""),
            server=server,
            schema=details.get("PG_DIAG_SCHEMA_NAME", ""),
            table=details.get("PG_DIAG_TABLE_NAME", ""),
            constraint=details.get("PG_DIAG_CONSTRAINT_NAME", ""),
        )
    if error.status_code.name == "IO":
        return _without_state(str(error), server)
    return ConnectorError(
        f"the PostgreSQL data driver failed ({error.status_code.name}); a row's key may be one that no document has "
        "(an infinite time), which only another program can have written"
    )


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _by_state(
    state: str, message: str, *, detail: str, server: Server, schema: str, table: str, constraint: str
) -> ConnectorError:
    if state.startswith("22"):  # the message quotes the value
        message = "a value does not fit its column"
    objects = f": {'; '.join(detail.splitlines())[:_MOST_DETAIL]}" if state in _OF_OBJECTS and detail else ""
    who = server.called if state.startswith(_LOST) else "PostgreSQL"
    text = f"{who}: {message or 'error'} (SQLSTATE {state}){objects}"
    if state == "42703" and _NEW_COLUMN in message:
        return RefusedError(_EARLIER)
    if state in _CONSTRAINTS:
        return _CONSTRAINTS[state](text, table=table, constraint=constraint, schema=schema)
    kind = next((kind for states, kind in _KINDS if state.startswith(states)), ConnectorError)
    return kind(text)


def _without_state(message: str, server: Server) -> ConnectorError:
    """A failed or broken connection. What the server itself says at connect comes with "FATAL"."""
    fatal = server.without_user(message.partition("FATAL:")[2].strip().partition("\n")[0])
    if any(words in fatal for words in _FINAL):
        return RefusedError(f"{server.called} refused the connection: {fatal}")
    if fatal:
        return ConnectionLostError(f"{server.called}: {fatal}")
    for words, reason in _OURS:
        if all(word in message for word in words):
            return RefusedError(f"{server.called} is not connected to: {reason}")
    for words, kind, cause in _CAUSES:
        if any(word in message for word in words):
            return kind(f"{server.called} cannot be reached: {cause}")
    if message.startswith(("connection", "IO: [libpq] Failed to connect")):
        return ConnectionLostError(f"{server.called} cannot be reached; is the server running and the address right?")
    return ConnectionLostError(f"the connection to {server.called} was lost")
