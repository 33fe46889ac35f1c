"""Plain connections and pools of psycopg.

No statement is prepared under a name, so a pooler in transaction mode does no harm.
"""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import QueuePool

from tranship.plans.streams import Endpoint

APPLICATION = "tranship"

_POOL = 8
"""Sessions of one process; its threads are capture, applier, heartbeat and a few readers."""


def conninfo(endpoint: Endpoint) -> str:
    """The endpoint's address with what every session of ours says."""
    return make_conninfo(endpoint.uri, application_name=APPLICATION, client_encoding="UTF8")


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
    def _no_statement_timeout(connection: Connection) -> None:
        # A timeout meant for applications would end an index build or the scan of a large table.
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")

    return made
