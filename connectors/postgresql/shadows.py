"""Shadows: state schemas of dry runs, known by a table of their own and not by their names."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Column, Connection, DateTime, MetaData, Table, Text, func, insert, select, text

from tranship.connectors.postgresql.layout import quote
from tranship.connectors.protocols import Finding
from tranship.plans.streams import Endpoint

TABLE = "shadow"


def table(state_schema: str) -> Table:
    """The record of a shadow in its state schema: the plan that it is of, and the schema of its tables."""
    return Table(
        TABLE,
        MetaData(schema=state_schema),
        Column("plan", Text, primary_key=True),
        Column("data_schema", Text, nullable=False),
        Column("made_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    )


def note(connection: Connection, endpoint: Endpoint) -> None:
    """Note that a state schema is a shadow's, in the transaction that makes it. Idempotent."""
    shadow = table(endpoint.state_schema)
    shadow.metadata.create_all(connection)
    if connection.execute(select(shadow.c.plan)).first() is None:
        connection.execute(insert(shadow).values(plan=endpoint.shadow_of, data_schema=endpoint.schema))


def all_of(connection: Connection, plan: str) -> list[tuple[str, str, float]]:
    """The shadows of a plan's dry runs that are there: (state schema, schema of its tables, its age in seconds)."""
    schemas = text(
        "SELECT n.nspname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace "
        "WHERE c.relname = 'shadow' AND c.relkind = 'r' AND EXISTS (SELECT FROM pg_class AS o "
        "WHERE o.relname = 'owned' AND o.relnamespace = n.oid) AND EXISTS (SELECT FROM pg_attribute AS a "
        "WHERE a.attrelid = c.oid AND a.attname = 'data_schema') AND has_schema_privilege(n.oid, 'USAGE') "
        "AND has_table_privilege(c.oid, 'SELECT') ORDER BY 1"
    )
    found = []
    for schema in connection.execute(schemas).scalars():
        shadow = table(schema)
        age = func.extract("epoch", func.clock_timestamp() - shadow.c.made_at)
        rows = connection.execute(select(shadow.c.data_schema, age).where(shadow.c.plan == plan)).all()
        found += [(schema, data_schema, float(age_s)) for data_schema, age_s in rows]
    return found


def seen_outside(connection: Connection) -> list[Finding]:
    """What others would get to see of tables that a dry run makes."""
    return [*_published(connection), *_triggered(connection)]


def _published(connection: Connection) -> Iterator[Finding]:
    for name in connection.execute(text("SELECT pubname FROM pg_publication WHERE puballtables ORDER BY 1")).scalars():
        message = f"publication {quote(name)} is for all tables: its subscribers would get a dry run's rows"
        hint = "Publish the tables by name or schema instead, or rehearse against a copy of this database."
        yield Finding("target.seen_outside", "error", message, hint)


def _triggered(connection: Connection) -> Iterator[Finding]:
    query = text("SELECT evtname FROM pg_event_trigger WHERE evtenabled <> 'D' ORDER BY 1")
    for name in connection.execute(query).scalars():
        message = f"event trigger {quote(name)} acts on each table that a dry run makes and drops"
        hint = "Disable it for the dry run if it may be, or rehearse against a copy of this database."
        yield Finding("target.seen_outside", "error", message, hint)
