"""Emptying the tables of a run, inside of the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, text

from tranship.connectors.postgresql import ownership, routes, strangers
from tranship.connectors.postgresql.catalog import ddl
from tranship.connectors.postgresql.chunks import Chunks
from tranship.connectors.postgresql.lanes import Lanes
from tranship.connectors.postgresql.statetables import StateTables
from tranship.connectors.postgresql.tables import LOCK_TIMEOUT, walk
from tranship.connectors.protocols import Scope
from tranship.plans.streams import Endpoint, Stream


def empty(
    connection: Connection, endpoint: Endpoint, tables: StateTables, scope: Scope, streams: Sequence[Stream]
) -> None:
    """TRUNCATE those of the streams' tables that this run made and that are still there; then as `forget`."""
    connection.execute(text(LOCK_TIMEOUT))
    made = ownership.made(connection, tables, scope.run, "table")
    there = [made[table.name] for table, _ in walk(streams, endpoint.schema) if table.name in made]
    if there:
        strangers.refuse_referring(connection, endpoint, streams)
        ddl(connection, routes.applying(scope.run))
        ddl(connection, f"TRUNCATE {', '.join(there)}")
    forget(connection, tables, scope, streams)


def forget(connection: Connection, tables: StateTables, scope: Scope, streams: Sequence[Stream]) -> None:
    """Forget what is kept about the streams' rows; nothing that was begun or taken before can commit any more."""
    Chunks(connection, tables, scope).forget([stream.name for stream in streams])
    # A batch that was read while the chunks were loaded must not put rows into the emptied tables (I2).
    Lanes(connection, tables, scope).move()
