"""What becomes of a plan's paths, as text and as data for JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from tranship.connectors.mapping import MappedColumn, MappedTable
from tranship.connectors.registry import mapping
from tranship.plans import Plan, resolve, target_endpoint
from tranship.plans.names import written


def mapping_of(plan: Plan) -> list[MappedTable]:
    """Every table that the plan leads to, with its columns. Needs no server."""
    return mapping(target_endpoint(plan), resolve(plan))


def as_data(tables: Sequence[MappedTable]) -> list[dict[str, Any]]:
    """The tables as JSON-able values."""
    return [asdict(table) for table in tables]


def printed(tables: Sequence[MappedTable]) -> str:
    """The tables as text for people: a line for each column."""
    return "\n\n".join("\n".join(_lines(table)) for table in tables)


def _lines(table: MappedTable) -> Iterator[str]:
    yield f"{_origin(table)} → {table.schema}.{table.table}"
    rows = [(column.name, column.type, _source(column), _null(column), _keys(column)) for column in table.columns]
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True) if width]
        yield "    " + "  ".join(cells).rstrip()
    for index in table.indexes:
        where = f" where {' and '.join(index.where)}" if index.where else ""
        yield f"    {'unique ' if index.unique else ''}index ({', '.join(index.columns)}){where}"


def _origin(table: MappedTable) -> str:
    if table.array is None:
        where = f" where {table.where}" if table.where is not None else ""
        return f"stream {table.stream}: documents of {table.collection}{where}"
    return f"stream {table.stream}: elements of {written(table.array)} in {table.parent}, no rows: {table.empty}"


def _source(column: MappedColumn) -> str:
    if column.path is None:
        return f"({column.about})"
    return written(column.path) if column.path else "(the element itself)"


def _keys(column: MappedColumn) -> str:
    return "primary key" if column.key else "unique" if column.unique else ""


def _null(column: MappedColumn) -> str:
    return f"NULL: {column.null}" if column.null else ""
