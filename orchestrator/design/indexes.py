"""Indexes of a collection as indexes of its table, or why not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tranship.connectors.profile import IndexSeen
from tranship.orchestrator.design.conditions import UntranslatableError, conditions
from tranship.orchestrator.design.proposals import Column, Stream
from tranship.orchestrator.reports.status import duration

_NOT_INDEXED = ("json", "array")


def translate(stream: Stream, indexes: tuple[IndexSeen, ...]) -> None:
    """Give the stream what its collection's indexes become; what becomes of none is noted."""
    columns = {".".join(column.path): column for column in (*stream.key, *stream.table.columns)}
    inside = {".".join(child.path): child.name for child in stream.table.children}
    for index in indexes:
        named = f"index {index.name} ({', '.join(f'{name}: {way}' for name, way in index.fields)})"
        why = _against(index, columns, inside)
        if why:
            stream.notes.append(f"{named} is not made: {why}")
            continue
        if index.expires_s is not None:
            field = index.fields[0][0]
            stream.notes.append(
                f"retention: MongoDB deletes documents {duration(index.expires_s)} after {field}; after the switch a "
                "job of yours has to"
            )
        _add(stream, index, columns, named)


def _add(stream: Stream, index: IndexSeen, columns: Mapping[str, Column], named: str) -> None:
    held = [columns[name] for name, _ in index.fields]
    unique = index.unique
    where: dict[str, Any] = {}
    try:
        where = conditions(index, columns)
    except UntranslatableError as error:
        stream.notes.append(f"{named} is made over all rows{', and not unique' if unique else ''}: {error}")
        unique = False
    if unique and all(column in stream.key for column in held):
        if len(held) < len(stream.key):
            stream.notes.append(f"{named} is not made unique: a plan says that of key columns beside others only")
        unique = False
    if unique and stream.where is not None:
        stream.notes.append(f"{named} is unique over the whole collection; here it is within this table")
    if len(held) == 1 and not where:
        if unique:
            held[0].spec["unique"] = True
        if unique or held[0] in stream.key:
            return
    entry: dict[str, Any] = {"columns": _directed(index, held)}
    entry |= ({"unique": True} if unique else {}) | ({"where": where} if where else {})
    if entry not in stream.indexes:
        stream.indexes.append(entry)


def _directed(index: IndexSeen, held: list[Column]) -> list[Any]:
    """Directions matter only against each other: an index is read backwards as well."""
    if len({way for _, way in index.fields}) == 1:
        return [column.name for column in held]
    ways = [way for _, way in index.fields]
    return [{column.name: "desc"} if way == -1 else column.name for column, way in zip(held, ways, strict=True)]


def _against(index: IndexSeen, columns: Mapping[str, Column], inside: Mapping[str, str]) -> str:
    return next(_reasons(index, columns, inside), "")


def _reasons(index: IndexSeen, columns: Mapping[str, Column], inside: Mapping[str, str]) -> Iterator[str]:
    for name, way in index.fields:
        if isinstance(way, str):
            yield f"{way} is a kind of MongoDB's own; see the extensions of PostgreSQL"
        elif name not in columns:
            table = next((table for path, table in inside.items() if f"{name}.".startswith(f"{path}.")), "")
            yield f"{name} is in the child table {table}" if table else f"{name} is no column"
        elif columns[name].spec["type"] in _NOT_INDEXED:
            yield f"{name} is {columns[name].spec['type']}, which a GIN index serves"
    if index.other:
        yield f"PostgreSQL has nothing for {', '.join(index.other)}"
