"""Creating and dropping the data tables, and what is found before any of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import Connection, text

from tranship.connectors.errors import NotOursError, RefusedError
from tranship.connectors.postgresql import ownership, routes
from tranship.connectors.postgresql.catalog import (
    ddl,
    dependents,
    index_state,
    relation_exists,
    schema_exists,
    schema_is_empty,
    type_exists,
)
from tranship.connectors.postgresql.layout import Layout, layout, quote
from tranship.connectors.postgresql.naming import clashes, relations
from tranship.connectors.postgresql.statements import making
from tranship.connectors.postgresql.statetables import StateTables
from tranship.plans.streams import Stream

LOCK_TIMEOUT = "SET LOCAL lock_timeout = '10s'"
"""For what needs a table for itself: it must not stand in front of everybody else's lock requests for long."""


def walk(streams: Sequence[Stream], schema: str) -> Iterator[tuple[Layout, Layout | None]]:
    """All tables of the streams, each with its parent; parents first."""
    for stream in streams:
        yield from layout(stream, schema).walk()


def taken(
    connection: Connection, tables: StateTables | None, schema: str, streams: Sequence[Stream], run: str
) -> list[str]:
    """Tables that are not the run's and so stand in the way. `tables` is None before the state schema is there.

    A schema never does, whoever made it: several runs may have tables in one, and it is dropped only when it is empty.
    """
    problems = []
    for table, _ in walk(streams, schema):
        label = f"{schema}.{table.table}"
        if not relation_exists(connection, table.name):
            if type_exists(connection, table.name):
                problems.append(f"{label} is the name of a type, which a table's rows need")
            continue
        maker = ownership.maker(connection, tables, "table", table.name) if tables is not None else None
        if maker != run:
            by = f"it was made by run {maker}" if maker else "it was not made by tranship"
            problems.append(f"{label} exists and was not made by this run: {by}")
    return problems


def taken_indexes(
    connection: Connection, tables: StateTables | None, schema: str, streams: Sequence[Stream], run: str
) -> list[str]:
    """Names of indexes and constraints that something else has, on a table that is not the run's."""
    problems = []
    own = {table.table for table, _ in walk(streams, schema)}
    for name, what in relations(streams, schema):
        quoted = f"{quote(schema)}.{quote(name)}"
        if name in own or not relation_exists(connection, quoted):
            continue
        on = index_state(connection, schema, name)
        table = f"{quote(schema)}.{quote(on.table)}" if on is not None else quoted
        maker = ownership.maker(connection, tables, "table", table) if tables is not None else None
        if maker is None or maker != run:
            problems.append(f"{schema}.{name} exists and is not this run's; {what} would be named so")
    return problems


def create(connection: Connection, tables: StateTables, schema: str, streams: Sequence[Stream], run: str) -> list[str]:
    """Create what is missing and note that the run owns it, in the caller's transaction. Returns what was made."""
    problems = clashes(streams, schema)
    if problems:
        raise RefusedError("; ".join(problems))
    blockers = taken(connection, tables, schema, streams, run)
    if blockers:
        raise NotOursError(
            f"table names are taken: {'; '.join(blockers)}. Nothing was changed. Rename the table or the schema in the "
            "plan, or remove what is there."
        )
    made = []
    if not schema_exists(connection, schema):
        ddl(connection, f"CREATE SCHEMA {quote(schema)}")
        ownership.note(connection, tables, run, "schema", quote(schema))
        made.append(schema)
    for table, _ in walk(streams, schema):
        if not relation_exists(connection, table.name):
            for statement in making(table):
                ddl(connection, statement)
            routes.guard(connection, tables, table.name, run)
            ownership.note(connection, tables, run, "table", table.name)
            made.append(f"{schema}.{table.table}")
    return made


def drop(connection: Connection, tables: StateTables, schema: str, streams: Sequence[Stream], run: str) -> list[str]:
    """Drop what the run made, under whatever name, in the caller's transaction. Returns what is gone.

    Raises `RefusedError` with the names of what others have hung on the tables.
    """
    connection.execute(text(LOCK_TIMEOUT))
    wanted = {table.name: f"{schema}.{table.table}" for table, _ in walk(streams, schema)}
    made = ownership.made(connection, tables, run, "table")
    there = {name: made[name] for name in wanted if name in made}
    hung = dependents(connection, list(there.values()))
    if hung:
        raise RefusedError(
            f"tables of run {run} cannot be dropped, because others have hung on them: {', '.join(hung)}. Nothing was "
            "changed. Drop these, then do the same again"
        )
    if there:
        # One command: their foreign keys to each other do not stand in its way, other people's objects do.
        ddl(connection, f"DROP TABLE {', '.join(there.values())}")
    ownership.forget(connection, tables, run, "table", wanted)
    dropped = [wanted[name] for name in there]
    own_schema = ownership.made(connection, tables, run, "schema").get(quote(schema))
    if own_schema is not None and schema_is_empty(connection, schema):
        ddl(connection, f"DROP SCHEMA {own_schema}")
        ownership.forget(connection, tables, run, "schema", [quote(schema)])
        dropped.append(schema)
    return dropped
