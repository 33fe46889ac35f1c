"""Plain connections and pools of psycopg.

No statement is prepared under a name: it would be kept for the life of a pooled session.
"""

from __future__ import annotations

import secrets
from typing import Any, Literal

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import QueuePool

from tranship.connectors.addresses import address_of
from tranship.connectors.errors import RefusedError
from tranship.plans.streams import Endpoint

OURS = "^tranship [0-9a-f]{16}$"
"""What the `application_name` of each session of ours matches. Its second word is drawn anew for each session, so that
a recorded session is known by it: also to a role that may not see when it began, and never taken for one of somebody
else that got the same process id, or of an application that a pooler serves through it."""

CONTROL_IDLE_S = 10
"""How long a transaction of the control plane may wait for its process. A stopped process would else keep the snapshot
of its last read for ever, and a concurrent index build waits for every snapshot that is older."""


def no_timeouts(idle_s: int = 0) -> str:
    """For the beginning of each transaction: timeouts meant for applications, set for the role or the database, would
    end an index build, the scan of a large table, or a load that waits for the source. `idle_s`: 0 is for ever."""
    return _timeouts(idle_s, until="transaction")


def no_session_timeouts() -> str:
    """The same for a session outside of transactions, for all that it still does."""
    return _timeouts(0, until="session")


def _timeouts(idle_s: int, until: Literal["transaction", "session"]) -> str:
    local = "true" if until == "transaction" else "false"
    return f"""
SELECT set_config('statement_timeout', '0', {local}),
       set_config('idle_in_transaction_session_timeout', '{idle_s}s', {local}),
       CASE WHEN current_setting('transaction_timeout', true) IS NOT NULL  -- PostgreSQL 17 and later
            THEN set_config('transaction_timeout', '0', {local}) END
"""


_DURABLE = """
SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'
"""
"""An intent, and above all the switch, is acted on once it is committed: a crash of the server must not lose it. A
value that waits for more than the local disk stays. Rows may do without: their marks are lost with them."""

_POOL = 8
"""Sessions of one process; its threads are capture, applier, heartbeat and a few readers."""


PATIENCE: dict[str, str] = {
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}
"""A server whose machine has died, or behind a cut cable, sends nothing, not even that it is gone: by the system's
defaults that is noticed after a quarter of an hour, or two hours. With these it takes a minute (libpq, "Connection
parameters")."""


PINNED: dict[str, str] = {
    # How what we send is read: with other values dirty keys and quoted names would arrive as something else.
    "standard_conforming_strings": "on",
    "backslash_quote": "safe_encoding",
    "array_nulls": "on",
    "transform_null_equals": "off",
    "timezone": "UTC",
    # How what we read is written: the journal's hashes, leases and bounds of keys are made of such texts.
    "extra_float_digits": "1",
    "datestyle": "ISO",
    "intervalstyle": "postgres",
    "bytea_output": "hex",
    "quote_all_identifiers": "off",
    # What a name stands for: ours are all qualified; functions and operators are the server's own.
    "search_path": "pg_catalog",
    # A policy that would hide rows from us is an error instead of rows that seem to be missing.
    "row_security": "off",
    # libpq prints what is below to our stderr, into the log.
    "client_min_messages": "error",
    # What would end a session, or a statement that waits for an application.
    "exit_on_error": "off",
    "lock_timeout": "0",
    "idle_session_timeout": "0",
}
"""What every session of ours says of itself, whatever server, database, role or address say: all settings on which a
statement of ours depends, from PostgreSQL's list of those that a user may set. Isolation, timeouts of transactions and
whether they may write are said at the beginning of each."""


def conninfo(endpoint: Endpoint) -> str:
    """The endpoint's address with what every session of ours says.

    What the URI says wins over our patience; over what statements depend on, we win.
    """
    uri = address_of(endpoint)
    given = conninfo_to_dict(uri)
    chosen = {name: value for name, value in PATIENCE.items() if name not in given}
    if "," in str(given.get("host", "")) and "target_session_attrs" not in given:
        chosen["target_session_attrs"] = "read-write"  # of several hosts the primary, whichever it is by now
    pinned = " ".join(f"-c {name}={value}" for name, value in PINNED.items())
    options = f"{given.get('options', '')} {pinned}".strip()
    name = f"tranship {secrets.token_hex(8)}"
    return make_conninfo(uri, application_name=name, client_encoding="UTF8", options=options, **chosen)


def ensure_direct(session: psycopg.Connection[tuple[Any, ...]]) -> None:
    """Raise `RefusedError` when a session leads to a pooler instead of the server.

    A pooler tells its clients process ids of its own, and its sessions serve applications in turn: one that was
    recorded as ours, a takeover would end under them (`rules.md` K6).
    """
    with psycopg.ClientCursor(session) as cursor:
        row = cursor.execute("SELECT pg_backend_pid()").fetchone()
    if row is None or row[0] != session.info.backend_pid:
        raise RefusedError(
            "the target's address leads to a pooler (PgBouncer or the like), not to the server. Nothing was recorded. "
            "Give the server's own address; applications may go on to use the pooler"
        )


def connect(endpoint: Endpoint, **options: Any) -> psycopg.Connection[tuple[Any, ...]]:
    """A plain psycopg session."""
    return psycopg.connect(conninfo(endpoint), prepare_threshold=None, **options)


def engine(endpoint: Endpoint) -> Engine:
    """A pool of sessions, opened when first needed. Safe for several threads; not to be carried over a fork."""
    made = create_engine(
        "postgresql+psycopg://",
        creator=lambda: connect(endpoint),
        poolclass=QueuePool,
        pool_size=_POOL,
        max_overflow=_POOL,
        pool_pre_ping=True,
        isolation_level="READ COMMITTED",
        hide_parameters=True,
    )

    @event.listens_for(made, "begin")
    def _begun(connection: Connection) -> None:
        connection.exec_driver_sql(no_timeouts(CONTROL_IDLE_S))
        connection.exec_driver_sql(_DURABLE)

    return made
