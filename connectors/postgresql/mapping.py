"""What PostgreSQL makes of a plan's streams, by their layouts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tranship.connectors.mapping import MappedColumn, MappedIndex, MappedTable
from tranship.connectors.postgresql.layout import Layout, layout
from tranship.plans.streams import Child, Column, Condition, Endpoint, Index, Stream


def mapping(endpoint: Endpoint, streams: Sequence[Stream]) -> list[MappedTable]:
    """Every table of the streams, parents first. Connects to nothing."""
    return [table for stream in streams for table in _tables(stream, layout(stream, endpoint.schema))]


def _tables(stream: Stream, root: Layout) -> Iterator[MappedTable]:
    columns = (*_key(stream, root), *_data(root, stream.columns))
    listed = tuple(_spoken(index) for index in stream.indexes)
    yield MappedTable(
        stream.name,
        stream.collection,
        root.schema,
        root.table,
        columns,
        where=stream.where,
        indexes=listed,
    )
    yield from _below(stream, root, stream.children)


def _spoken(index: Index) -> MappedIndex:
    columns = tuple(f"{name} desc" if name in index.descending else name for name in index.columns)
    return MappedIndex(columns, index.unique, tuple(map(_condition, index.where)))


def _condition(condition: Condition) -> str:
    values = ", ".join(str(value) for value in condition.values)
    return f"{condition.column} {condition.test} {values}".rstrip()


def _below(stream: Stream, above: Layout, children: Sequence[Child]) -> Iterator[MappedTable]:
    for child, table in zip(children, above.children, strict=True):
        ordinals = [
            MappedColumn(field.name, field.native, about="position in the array", key=True) for field in table.ordinals
        ]
        columns = (*_key(stream, table), *ordinals, *_data(table, child.columns))
        yield MappedTable(
            stream.name,
            stream.collection,
            table.schema,
            table.table,
            columns,
            above.table,
            child.path,
            child.empty,
        )
        yield from _below(stream, table, child.children)


def _key(stream: Stream, table: Layout) -> Iterator[MappedColumn]:
    for column, field in zip(stream.key, table.key, strict=True):
        yield MappedColumn(field.name, field.native, column.path, key=not field.long)
        if field.long:
            yield MappedColumn(field.identity, "bytea", about=f"SHA-256 of {field.name}", key=True)


def _data(table: Layout, columns: Sequence[Column]) -> Iterator[MappedColumn]:
    for column, field in zip(columns, table.columns, strict=False):
        # No element of an array is missing: there NULL is always null.
        null = column.null if column.path else "null"
        yield MappedColumn(field.name, field.native, column.path, null=null, unique=column.unique)
    *rest, residue = table.columns[len(columns) :]
    for field in rest:
        yield MappedColumn(field.name, field.native, about="the fields without a column")
    yield MappedColumn(residue.name, residue.native, about="what no column holds exactly")
