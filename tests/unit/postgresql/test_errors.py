"""Drivers' errors of PostgreSQL: what is passed on of them, and what follows from them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from adbc_driver_manager import AdbcStatusCode, OperationalError

from tranship.connectors.errors import ConnectorError, RefusedError
from tranship.connectors.postgresql.errors import ConnectionLostError, LockTimeoutError, from_adbc
from tranship.connectors.postgresql.errors import translate as of_psycopg
from tranship.connectors.postgresql.servers import NOBODY, Server

AT = Server("db.example:5432, other:1", "mover")


def translate(error: Exception, server: Server = NOBODY) -> ConnectorError:
    """By way of whoever catches it: the Arrow driver's errors are caught where rows are handled."""
    return from_adbc(error, server) if isinstance(error, OperationalError) else of_psycopg(error, server)


def psycopg_error(state: str, message: str, detail: str, hint: str = "") -> psycopg.Error:
    """As psycopg raises it."""

    class Refused(psycopg.DatabaseError):
        sqlstate = state

        @property
        def diag(self) -> Any:
            empty = dict.fromkeys(("schema_name", "table_name", "constraint_name"))
            return SimpleNamespace(message_primary=message, message_detail=detail, message_hint=hint, **empty)

    return Refused(message)


def adbc_error(state: str, message: str, detail: str, hint: str = "") -> OperationalError:
    """As the Arrow driver raises it."""
    said = {"MESSAGE_PRIMARY": message, "MESSAGE_DETAIL": detail, "MESSAGE_HINT": hint}
    details = [(f"PG_DIAG_{name}", text.encode()) for name, text in said.items()]
    return OperationalError(message, status_code=AdbcStatusCode.IO, sqlstate=state, details=details)


@pytest.mark.parametrize("made", [psycopg_error, adbc_error])
@pytest.mark.parametrize(
    ("state", "detail", "named"),
    [
        ("2BP01", "view report depends on table orders\nview more depends on view report", "; view more depends on"),
        ("0A000", 'Table "invoices" references "orders".', '"invoices" references "orders"'),
    ],
)
def test_a_detail_that_names_objects_is_passed_on(made: Any, state: str, detail: str, named: str) -> None:
    found = translate(made(state, "no", detail, "Use DROP ... CASCADE to drop the dependent objects too."))
    assert isinstance(found, RefusedError)
    assert named in str(found)
    assert "CASCADE" not in str(found), "it would drop what belongs to others"
    assert "\n" not in str(found)


@pytest.mark.parametrize("made", [psycopg_error, adbc_error])
@pytest.mark.parametrize("state", ["23505", "23503", "23502", "23514", "22P02", "22001", "42P01", "55P03", "XX000"])
def test_a_detail_that_may_hold_a_row_is_not(made: Any, state: str) -> None:
    assert "424242" not in str(translate(made(state, "no", "Key (id)=(424242) already exists.", "424242")))


def test_a_long_detail_is_cut() -> None:
    detail = "\n".join(f"view v{n} depends on table orders" for n in range(100))
    assert len(str(translate(psycopg_error("2BP01", "no", detail)))) < 600


def test_a_missing_privilege_and_a_lock_are_told_apart() -> None:
    assert type(translate(psycopg_error("42501", "permission denied for schema shop", ""))) is RefusedError
    assert type(translate(psycopg_error("55P03", "canceling statement due to lock timeout", ""))) is LockTimeoutError


REFUSED_BY_LIBPQ = [
    ("fe_sendauth: no password supplied", "asks for a password"),
    (
        'private key file "/home/mover/k" has group or world access; file must have permissions u=rw (0600)',
        "chmod 0600",
    ),
    ('private key file "/home/mover/k" has group or world access; permissions should be u=rw (0600)', "chmod 0600"),
    ('certificate present, but not private key file "/home/mover/k"', "sslkey"),
    ('could not load private key file "/home/mover/k": bad', "sslkey"),
    ('could not read certificate file "/home/mover/c": no start line', "sslcert"),
    ('root certificate file "/home/mover/r" does not exist\nEither provide the file, use the system\'s', "is missing"),
    ('could not read root certificate file "/home/mover/r": bad', "sslrootcert"),
    ('weak sslmode "require" may not be used with sslrootcert=system (use "verify-full")', "verify-full"),
    ('definition of service "mover" not found', "service"),
    ('service file "/home/mover/s" not found', "PGSERVICEFILE"),
    ('authentication method requirement "scram-sha-256" failed: server requested a hashed password', "require_auth"),
    ('requirepeer specifies "mover", but actual peer user name is "postgres"', "requirepeer"),
    ("channel binding required, but SSL not in use", "channel binding"),
    ("GSSAPI encryption required but no credential cache", "Kerberos"),
    ('gssencmode value "require" invalid when GSSAPI support is not compiled in', "Kerberos"),
    ('invalid sslmode value: "mover"', "a value that it cannot have"),
]


@pytest.mark.parametrize(("text", "what"), REFUSED_BY_LIBPQ)
@pytest.mark.parametrize("before", ["connection failed: ", "connection is bad: "])
def test_what_libpq_itself_refuses_is_refused_at_once(text: str, what: str, before: str) -> None:
    said = f'{before}connection to server at "db.example" (1.2.3.4), port 5432 failed: {text}'
    adbc = OperationalError(f"IO: [libpq] Failed to connect: {text}\n", status_code=AdbcStatusCode.IO)
    for error in (psycopg.OperationalError(said), adbc):
        found = translate(error, AT)
        assert type(found) is RefusedError
        assert what in str(found)
        assert "not trusted" not in str(found)
        assert "mover" not in str(found)
        assert "PostgreSQL at db.example:5432, other:1" in str(found)


@pytest.mark.parametrize(
    "text",
    [
        'connection to server at "h", port 5432 failed: Connection refused',
        'connection to server at "h", port 5432 failed: SSL error: unexpected eof while reading',
        'connection to server at "h", port 5432 failed: session is read-only',
        'connection to server at "h", port 5432 failed: FATAL:  the database system is starting up',
        "consuming input failed: SSL SYSCALL error: EOF detected",
        "consuming input failed: SSL connection has been closed unexpectedly",
        "consuming input failed: server closed the connection unexpectedly",
    ],
)
def test_an_outage_names_the_servers(text: str) -> None:
    found = translate(psycopg.OperationalError(f"connection failed: {text}"), AT)
    assert type(found) is ConnectionLostError
    assert AT.called in str(found)


def test_a_session_that_was_ended_names_the_servers() -> None:
    found = translate(psycopg_error("57P01", "terminating connection due to administrator command", ""), AT)
    assert type(found) is ConnectionLostError
    assert AT.called in str(found)


def test_an_error_of_one_statement_names_no_server() -> None:
    found: ConnectorError = translate(psycopg_error("42P01", 'relation "a" does not exist', ""), AT)
    assert str(found) == 'PostgreSQL: relation "a" does not exist (SQLSTATE 42P01)'
