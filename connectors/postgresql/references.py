"""References between streams: rows that refer to nothing that is there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import NamedTuple

from sqlalchemy import Connection

from tranship.connectors.postgresql.layout import Layout, layout, quote
from tranship.connectors.protocols import Key, Scope
from tranship.plans.streams import Column, Endpoint, Stream


class Reference(NamedTuple):
    """A column that refers to the key of a stream. `label`: its name, of a child table's with that before it."""

    label: str
    table: str
    column: Column
    stream: Stream


def references(stream: Stream, streams: Mapping[str, Stream]) -> Iterator[Reference]:
    """Those of a stream's tables."""
    columns = [(stream.table, column, column.name) for column in stream.columns]
    children = list(stream.children)
    for child in children:
        columns += [(child.table, column, f"{child.table}.{column.name}") for column in child.columns]
        children += child.children
    for table, column, label in columns:
        if column.references is not None:
            yield Reference(label, table, column, streams[column.references.stream])


def count(connection: Connection, schema: str, reference: Reference) -> int:
    """Rows that refer to no row."""
    statement = f"SELECT count(*) FROM {_dangling(schema, reference)}"
    found: int = connection.exec_driver_sql(statement.replace("%", "%%")).scalar_one()
    return found


def values(endpoint: Endpoint, scope: Scope, reference: Reference, limit: int) -> list[tuple[Key, int]]:
    """Up to `limit` of the keys that are referred to and have no row, each with how many rows refer to it."""
    # Rows are read here alone; who only looks at the catalog needs no Arrow.
    from tranship.connectors.postgresql.datasessions import DataSession
    from tranship.connectors.postgresql.frames import Rows
    from tranship.connectors.postgresql.keyspace import KeySpace

    other = layout(reference.stream, endpoint.schema)
    name = f"t.{quote(reference.column.name)}"
    statement = (
        f"SELECT {name}, count(*) FROM {_dangling(endpoint.schema, reference)} GROUP BY 1 ORDER BY 2 DESC, 1 "
        f"LIMIT {limit}"
    )
    with closing(DataSession(endpoint, scope)) as session, session.read():
        found = session.run(statement)
    rows = Rows(other, found.select([0]), other.key)
    keys = KeySpace(reference.stream, other).canonical(rows.key_columns())
    return list(zip(keys, found.column(1).to_pylist(), strict=True))


def _dangling(schema: str, reference: Reference) -> str:
    other: Layout = layout(reference.stream, schema)
    name = quote(reference.column.name)
    return (
        f"{quote(schema)}.{quote(reference.table)} AS t WHERE t.{name} IS NOT NULL "
        f"AND NOT EXISTS (SELECT 1 FROM {other.name} AS o WHERE o.{quote(other.key[0].name)} = t.{name})"
    )
