"""Removing what a dry run has made, by its own record of that: without its plan, which may be another by now."""

from __future__ import annotations

from sqlalchemy import Connection, select, text

from tranship.connectors.errors import RefusedError
from tranship.connectors.postgresql import ownership
from tranship.connectors.postgresql.catalog import ddl, dependents, schema_is_empty
from tranship.connectors.postgresql.connections import engine
from tranship.connectors.postgresql.epoch import bump_epoch
from tranship.connectors.postgresql.errors import translating
from tranship.connectors.postgresql.layout import quote
from tranship.connectors.postgresql.servers import server_of
from tranship.connectors.postgresql.statetables import StateTables, state_tables
from tranship.connectors.postgresql.tables import LOCK_TIMEOUT
from tranship.plans.streams import Endpoint


def discard(endpoint: Endpoint) -> None:
    """Drop tables and schema that the runs in a state schema have made. Idempotent."""
    tables = state_tables(endpoint.state_schema)
    made = engine(endpoint)
    try:
        with translating(server_of(endpoint)):
            with made.begin() as connection:
                runs = list(connection.execute(select(tables.epoch.c.run)).scalars())
            for run in runs:
                # A session of theirs that still lives, behind a lost connection, must not write into what goes.
                with made.begin() as connection:
                    bump_epoch(connection, tables, run)
            with made.begin() as connection:
                connection.execute(text(LOCK_TIMEOUT))
                for run in runs:
                    _drop(connection, tables, endpoint.schema, run)
    finally:
        made.dispose()


def _drop(connection: Connection, tables: StateTables, schema: str, run: str) -> None:
    there = ownership.made(connection, tables, run, "table")
    hung = dependents(connection, list(there.values()))
    if hung:
        raise RefusedError(
            f"tables of the dry run in {schema} cannot be dropped, because others have hung on them: "
            f"{', '.join(hung)}. Nothing was changed. Drop these, then do the same again"
        )
    if there:
        ddl(connection, f"DROP TABLE {', '.join(there.values())}")
    own_schema = ownership.made(connection, tables, run, "schema").get(quote(schema))
    if own_schema is not None and schema_is_empty(connection, schema):
        ddl(connection, f"DROP SCHEMA {own_schema}")
