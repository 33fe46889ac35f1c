"""Indexes of a collection as indexes of its table, or why not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tranship.connectors.profile import IndexSeen
from tranship.orchestrator.design.proposals import Column, Stream
from tranship.orchestrator.reports.status import duration

_NOT_INDEXED = ("json", "array")


def translate(stream: Stream, indexes: tuple[IndexSeen, ...]) -> None:
    """Give the stream what its collection's indexes become; what becomes of none is noted."""
    columns = {".".join(column.path): column for column in (*stream.key, *stream.table.columns)}
    inside = {".".join(child.path): child.name for child in stream.table.children}
    for index in indexes:
        named = ", ".join(f"{name}: {way}" for name, way in index.fields)
        why = _against(index, columns, inside)
        if why:
            stream.notes.append(f"index {index.name} ({named}) is not made: {why}")
            continue
        if index.expires_s is not None:
            field = index.fields[0][0]
            stream.notes.append(
                f"retention: MongoDB deletes documents {duration(index.expires_s)} after {field}; after the switch a "
                "job of yours has to"
            )
        _add(stream, index, [columns[name] for name, _ in index.fields], named)


def _add(stream: Stream, index: IndexSeen, columns: list[Column], named: str) -> None:
    if index.unique and stream.where is not None:
        stream.notes.append(f"index {index.name} ({named}) is unique over the whole collection; a table holds a part")
    elif index.unique and len(columns) == 1 and index.partial is None:
        if columns[0] not in stream.key:
            columns[0].spec["unique"] = True
        return
    elif index.unique:
        stream.notes.append(f"index {index.name} ({named}) is made without being unique: {_weaker(index)}")
    elif index.partial is not None:
        stream.notes.append(f"index {index.name} ({named}) is made over all rows; MongoDB's holds a part")
    if len({way for _, way in index.fields}) > 1:
        stream.notes.append(f"index {index.name} ({named}) is made with all columns ascending")
    names = [column.name for column in columns]
    if columns[0] in stream.key and len(columns) == 1:
        return
    if names not in [entry["columns"] for entry in stream.indexes]:
        stream.indexes.append({"columns": names})


def _weaker(index: IndexSeen) -> str:
    return "a plan says that of single columns" if index.partial is None else "it holds a part of the documents only"


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
