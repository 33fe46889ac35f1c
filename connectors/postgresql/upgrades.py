"""State schemas of earlier versions, brought up to the present one in the transaction of `install_state`."""

from __future__ import annotations

from sqlalchemy import Connection, text, update

from tranship.connectors.errors import RefusedError
from tranship.connectors.postgresql.catalog import ddl
from tranship.connectors.postgresql.statetables import StateTables, quoted
from tranship.connectors.postgresql.tables import LOCK_TIMEOUT
from tranship.connectors.protocols import Feed

OLDEST = _WITH_ROUNDS = 4
"""Of what can be brought up to date; what is older was never released."""
WITH_FUNCTIONS = 6
"""From this one on routers and the guard have their functions. What came later are tables, which the caller makes."""


def upgrade(connection: Connection, tables: StateTables, version: int, newest: int, ours: str) -> None:
    """Bring the tables that an earlier version made up to date; those that it did not have are the caller's to make.

    Raises `RefusedError` while a process works on a run of the schema that is not `ours`: it would not find its columns
    any more.
    """
    _refuse_led(connection, tables, ours)
    connection.execute(text(LOCK_TIMEOUT))
    if version == _WITH_ROUNDS:
        _feeds(connection, tables)
    elif version < WITH_FUNCTIONS:
        _routes(connection, tables)
    connection.execute(update(tables.version).values(number=newest))


def _feeds(connection: Connection, tables: StateTables) -> None:
    """What rounds had is the forward feed's: there was one round only. Routing records came later."""
    for table in tables.metadata.sorted_tables:
        if "feed" in table.c and table is not tables.note:  # which came later, too
            ddl(connection, f"ALTER TABLE {quoted(table)} RENAME COLUMN round TO feed")
            ddl(connection, f"ALTER TABLE {quoted(table)} ALTER COLUMN feed TYPE text USING '{Feed.FORWARD}'")
    ddl(connection, f"ALTER TABLE {quoted(tables.lane)} ADD COLUMN sealed boolean NOT NULL DEFAULT false")


def _routes(connection: Connection, tables: StateTables) -> None:
    """Routing records that routers find."""
    ddl(
        connection,
        f"ALTER TABLE {quoted(tables.route)} ADD COLUMN plan text NOT NULL DEFAULT '', "
        "ADD COLUMN begun timestamptz NOT NULL DEFAULT clock_timestamp(), ADD COLUMN poll_ms integer",
    )


def _refuse_led(connection: Connection, tables: StateTables, ours: str) -> None:
    schema = tables.metadata.schema or ""
    lease = quoted(tables.version).removesuffix('"version"') + '"lease"'
    there = connection.execute(text("SELECT to_regclass(:name)"), {"name": lease}).scalar()
    if there is None:
        return
    escaped = lease.replace(":", "\\:")
    living = text(
        "SELECT run, ceil(extract(epoch FROM expires_at - clock_timestamp()))::int AS left_s "
        f"FROM {escaped} WHERE expires_at > clock_timestamp() AND run <> :ours ORDER BY run LIMIT 1"
    )
    found = connection.execute(living, {"ours": ours}).first()
    if found is not None:
        raise RefusedError(
            f"state_schema {schema} was made by an earlier tranship, which works on run {found.run}, or its lease "
            f"ends in {found.left_s} s. Nothing was changed. Stop it, then try again"
        )
