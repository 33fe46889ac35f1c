"""Plain connections and pools of psycopg.

No statement is prepared under a name: it would be kept for the life of a pooled session.
"""

from __future__ import annotations

from typing import Any, Literal

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import QueuePool

from tranship.plans.streams import Endpoint

APPLICATION = "tranship"

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


def conninfo(endpoint: Endpoint) -> str:
    """The endpoint's address with what every session of ours says. Options in the URI win over our patience."""
    chosen = {name: value for name, value in PATIENCE.items() if name not in conninfo_to_dict(endpoint.uri)}
    return make_conninfo(endpoint.uri, application_name=APPLICATION, client_encoding="UTF8", **chosen)


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
    def _no_timeouts(connection: Connection) -> None:
        connection.exec_driver_sql(no_timeouts(CONTROL_IDLE_S))

    return made
