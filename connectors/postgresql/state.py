"""The state schema: what the orchestrator needs of it, under one name.

The connector's tables are in `statetables`, the epoch in `epoch`; the orchestrator keeps tables of its own in the same
schema. Here is how the schema is made and removed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sqlalchemy import Connection, Table, func, insert, select, text
from sqlalchemy.schema import CreateSchema

from tranship.connectors.errors import NotOursError, RefusedError
from tranship.connectors.postgresql import routes, shadows, upgrades
from tranship.connectors.postgresql.catalog import ddl, dependents, schema_exists, schema_is_empty
from tranship.connectors.postgresql.connections import engine
from tranship.connectors.postgresql.epoch import bump_epoch, check_epoch, ensure_epoch, terminate_backends
from tranship.connectors.postgresql.errors import translating
from tranship.connectors.postgresql.layout import quote
from tranship.connectors.postgresql.servers import server_of
from tranship.connectors.postgresql.statetables import StateTables, in_text, quoted, state_tables
from tranship.connectors.postgresql.tables import LOCK_TIMEOUT
from tranship.plans.streams import Endpoint

STATE_VERSION = 7
"""Of the tables in `statetables`. Those of `upgrades` are brought up to it, any other one is refused."""


def install_state(endpoint: Endpoint, *, ours: str = "") -> None:
    """Create the state schema and its tables where they are missing, and bring up to date what an earlier version made,
    while nobody else works there. Idempotent. `ours`: the run whose lease the caller holds.

    Raises `NotOursError` for a schema of somebody else and `RefusedError` for one of a newer version; changes nothing
    then.
    """
    tables = state_tables(endpoint.state_schema)
    made = engine(endpoint)
    try:
        with translating(server_of(endpoint)), made.begin() as connection:
            # Two processes that install at the same moment: one waits here.
            connection.execute(select(func.pg_advisory_xact_lock(func.hashtext("tranship install"))))
            _install(connection, tables, endpoint.state_schema, ours)
            if endpoint.shadow_of:
                shadows.note(connection, endpoint)
    finally:
        made.dispose()


def _install(connection: Connection, tables: StateTables, schema: str, ours: str) -> None:
    existed = schema_exists(connection, schema)
    if not existed:
        connection.execute(CreateSchema(schema))
    elif table_names(connection, schema) and not is_state(connection, schema):
        raise NotOursError(
            f"state_schema {schema}: it exists and holds tables that tranship did not make. "
            "Nothing was changed. Name another schema."
        )
    version = version_of(connection, schema)
    without_functions = version is None
    if version is not None and upgrades.OLDEST <= version < STATE_VERSION:
        upgrades.upgrade(connection, tables, version, STATE_VERSION, ours)
        without_functions = version < upgrades.WITH_FUNCTIONS
        version = STATE_VERSION
    tables.metadata.create_all(connection)
    if without_functions:
        routes.create(connection, tables)
    if version is None:
        connection.execute(insert(tables.version).values(number=STATE_VERSION, made_schema=not existed))
    elif version != STATE_VERSION:
        raise RefusedError(f"{version_problem(schema, version)}. Nothing was changed. Use the one that made it")


def version_of(connection: Connection, schema: str) -> int | None:
    """The version of a state schema; None where there is none of ours, or one whose installation was cut off."""
    if not is_state(connection, schema):
        return None
    version: int | None = connection.execute(select(func.max(state_tables(schema).version.c.number))).scalar()
    return version


def version_problem(schema: str, version: int) -> str:
    """What is wrong with a state schema of another version."""
    made_by = "a newer" if version > STATE_VERSION else "an earlier"
    return f"state_schema {schema} was made by {made_by} tranship (version {version}, this one has {STATE_VERSION})"


def drop_state(
    endpoint: Endpoint, others: Iterable[Table] = (), unfinished: Callable[[], list[str]] = list
) -> list[str]:
    """Remove the state tables and `others`, and the schema if tranship made it and it is empty then. Idempotent.

    Nothing else is touched: what somebody else put into the schema stays, and so does the schema. `unfinished` is asked
    while nobody can write to the tables; the runs that it names are returned, and then nothing was dropped. Raises
    `NotOursError` for a schema of somebody else and `RefusedError` where other people's objects depend on the tables.
    """
    schema = endpoint.state_schema
    tables = state_tables(schema)
    made = engine(endpoint)
    try:
        with translating(server_of(endpoint)), made.begin() as connection:
            connection.execute(select(func.pg_advisory_xact_lock(func.hashtext("tranship install"))))
            if not schema_exists(connection, schema):
                return []
            if not is_state(connection, schema):
                raise NotOursError(f"schema {schema} is not a state schema of tranship; nothing was dropped")
            there = set(table_names(connection, schema))
            # Only a shadow's state has that table: in another one, one of this name is somebody else's.
            shadow = (shadows.table(schema),) if endpoint.shadow_of else ()
            all_of_ours = (*tables.metadata.sorted_tables, *shadow, *others)
            known = [quoted(table) for table in all_of_ours if table.name in there]
            connection.execute(text(LOCK_TIMEOUT))
            # Readers may go on: `unfinished` is one.
            ddl(connection, f"LOCK TABLE {', '.join(known)} IN EXCLUSIVE MODE")
            runs = unfinished()
            if not runs:
                _drop(connection, tables, known)
            return runs
    finally:
        made.dispose()


def _drop(connection: Connection, tables: StateTables, known: list[str]) -> None:
    schema = tables.metadata.schema or ""
    ours = connection.execute(select(tables.version.c.made_schema)).scalar()
    strangers = dependents(connection, known)
    if strangers:
        raise RefusedError(
            f"state_schema {schema}: {', '.join(strangers)} depends on tables of tranship. Nothing was dropped. "
            "Remove what depends on them first."
        )
    routes.drop(connection, tables)
    ddl(connection, f"DROP TABLE {', '.join(known)}")
    if ours and schema_is_empty(connection, schema):
        ddl(connection, f"DROP SCHEMA {quote(schema)}")


def table_names(connection: Connection, schema: str) -> list[str]:
    found = text(
        "SELECT relname FROM pg_class WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = :schema) "
        "AND relkind IN ('r', 'p') ORDER BY relname"
    )
    return list(connection.execute(found, {"schema": schema}).scalars())


def is_state(connection: Connection, schema: str) -> bool:
    """Whether the schema holds our tables; their version may be another."""
    return {"version", "epoch", "owned"} <= set(table_names(connection, schema))


__all__ = [
    "STATE_VERSION",
    "StateTables",
    "bump_epoch",
    "check_epoch",
    "drop_state",
    "ensure_epoch",
    "in_text",
    "install_state",
    "is_state",
    "state_tables",
    "table_names",
    "terminate_backends",
    "version_of",
    "version_problem",
]
