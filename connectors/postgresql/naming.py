"""Names of indexes and constraints, which tranship makes from those of the plan.

An injective map: the parts joined by two underscores. Where a part holds two itself, or begins or ends with one, or
where the whole would be too long, a digest of the parts makes the name; before its kind stands a hex digit then,
instead of an underscore. That no name is given twice after all, not even to a table, `clashes` looks.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Literal, TypeAlias

from tranship.connectors.postgresql.layout import NAME_BYTES, Layout, layout
from tranship.plans.streams import Index, Stream

Kind: TypeAlias = Literal["pkey", "fkey", "key", "idx", "order", "check"]
"""Primary key, foreign key to the parent, unique columns, index, index in key order, a column's listed values."""

DIGITS = 16


def derived(table: str, columns: Sequence[str], kind: Kind) -> str:
    """The name of a table's index or constraint."""
    parts = (table, *columns)
    whole = "__".join((*parts, kind))
    if len(whole.encode()) <= NAME_BYTES and not any("__" in part or part != part.strip("_") for part in parts):
        return whole
    return _digested(parts, (), kind)


def _digested(parts: Sequence[str], more: Sequence[str], kind: Kind) -> str:
    """As much of the parts as fits, with the digest of all that the name is to tell apart."""
    digest = hashlib.sha256("\0".join((*parts, *more, kind)).encode()).hexdigest()
    tail = f"_{digest[:DIGITS]}_{kind}"
    return "_".join(parts).encode()[: NAME_BYTES - len(tail)].decode("utf-8", "ignore") + tail


def index_name(table: str, index: Index) -> str:
    """The name of an index or unique constraint: by its columns, where these are all that it says."""
    kind: Kind = "key" if index.unique else "idx"
    more = [f"{name} desc" for name in index.descending]
    more += [json.dumps([condition.column, condition.test, *condition.values]) for condition in index.where]
    return _digested((table, *index.columns), more, kind) if more else derived(table, index.columns, kind)


def primary_key(table: Layout) -> str:
    """The name of a table's primary key."""
    return derived(table.table, (), "pkey")


def foreign_key(table: Layout) -> str:
    """The name of a child table's foreign key to its parent."""
    return derived(table.table, (), "fkey")


def order_index(table: Layout) -> str:
    """The name of the index that serves reading a table in key order where its primary key does not."""
    return derived(table.table, (), "order")


def relations(streams: Sequence[Stream], schema: str) -> Iterator[tuple[str, str]]:
    """Everything that shares one space of names in the schema: its name and what it is."""
    for stream in streams:
        for table, _ in layout(stream, schema).walk():
            yield table.table, f"table {table.table}"
            yield primary_key(table), f"the primary key of {table.table}"
            if table.is_ordered_apart:
                yield order_index(table), f"the index of {table.table} in key order"
        for index in (*stream.unique, *stream.plain_indexes):
            kind = "unique index" if index.unique else "index"
            yield index_name(stream.table, index), f"the {kind} of {stream.table} over {', '.join(index.columns)}"


def clashes(streams: Sequence[Stream], schema: str) -> list[str]:
    """Names that cannot stand: used twice in the schema or in a table, or too long. Empty when all is well."""
    problems = []
    seen: dict[str, str] = {}
    for name, what in relations(streams, schema):
        if name in seen:
            problems.append(f"{seen[name]} and {what} would both be named {name}")
        seen[name] = what
    for stream in streams:
        for table, _ in layout(stream, schema).walk():
            problems += _columns(table)
    return problems


def _columns(table: Layout) -> Iterator[str]:
    seen: set[str] = set()
    digests = [field.identity for field in table.key if field.long]
    for name in (*(field.name for field in table.fields), *digests):
        if name in seen:
            yield f"table {table.table}: two columns would be named {name}"
        seen.add(name)
    for name in (table.table, *sorted(seen)):
        if len(name.encode()) > NAME_BYTES:
            yield f"table {table.table}: the name {name} is longer than {NAME_BYTES} bytes"
