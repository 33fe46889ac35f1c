"""How a stream lies in PostgreSQL: its tables, their columns and native types.

Root table: the typed key columns (primary key), the typed columns, the rest column, `_residue`. Child table: the key of
the root as `_root…` columns, one ordinal per level (positions in the arrays, from 0), its own columns, `_residue`; its
primary key is root key and ordinals, and from the constrain phase on it refers to its parent table with ON DELETE
CASCADE, so that a row never outlives its document. The canonical key is not stored: it is computed from the typed one.

A long key column has a digest beside it, which PostgreSQL computes itself, and which stands for it in primary and
foreign keys; an index over the beginning of its values serves reading in key order.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

from tranship.connectors.batch import RESIDUE
from tranship.plans.streams import DIGEST_SUFFIX, Child, Column, Index, LogicalType, Stream

NAME_BYTES = 63
"""PostgreSQL cuts longer identifiers off without an error."""

_NATIVE = {
    LogicalType.BOOL: "boolean",
    LogicalType.INT32: "integer",
    LogicalType.INT64: "bigint",
    LogicalType.FLOAT64: "double precision",
    LogicalType.TEXT: "text",
    LogicalType.BYTES: "bytea",
    LogicalType.UUID: "uuid",
    LogicalType.OBJECTID: "character(24)",
    LogicalType.TIMESTAMP: "timestamp with time zone",
    LogicalType.DATE: "date",
    LogicalType.JSON: "jsonb",
}
"""As `format_type` prints them, so that the catalog can be compared with the plan."""


@dataclass(frozen=True)
class Field:
    """One column of a table. `collate_c`: compared byte by byte, as the source orders keys. `long`: a key column whose
    digest, in a generated column of its own, is what indexes hold (`rules.md` A8). `by_length`: a key column whose
    values sort by length first. `items`: the type of an array's elements. `column`: what it is a column of, or
    would be one of; it says the type of the values in a batch."""

    name: str
    type: LogicalType
    native: str
    column: Column
    nullable: bool = True
    collate_c: bool = False
    long: bool = False
    by_length: bool = False
    items: LogicalType | None = None

    @property
    def identity(self) -> str:
        """The name of the column that stands for this one in primary and foreign keys."""
        return self.name + DIGEST_SUFFIX if self.long else self.name

    def digest(self, value: str) -> str:
        """The SQL expression of the digest of a value, itself given as an expression."""
        # Through decode, because the direct ways from text to bytea are not immutable, as generated columns must be.
        raw = f"decode(replace({value}, E'\\\\', E'\\\\\\\\'), 'escape')" if self.type is LogicalType.TEXT else value
        return f"sha256({raw})"

    @property
    def definition(self) -> str:
        """For CREATE TABLE."""
        collation = ' COLLATE "C"' if self.collate_c else ""
        column = f"{quote(self.name)} {self.native}{collation}{'' if self.nullable else ' NOT NULL'}"
        if not self.long:
            return column
        digest = self.digest(quote(self.name))
        return f"{column}, {quote(self.identity)} bytea NOT NULL GENERATED ALWAYS AS ({digest}) STORED"


@dataclass(frozen=True)
class Layout:
    """One table. `unique`: what its rows have to keep among themselves."""

    schema: str
    table: str
    key: tuple[Field, ...]
    ordinals: tuple[Field, ...]
    columns: tuple[Field, ...]
    unique: tuple[Index, ...]
    children: tuple[Layout, ...] = ()
    comment: str = ""

    @property
    def name(self) -> str:
        """Quoted, with its schema."""
        return f"{quote(self.schema)}.{quote(self.table)}"

    @property
    def primary(self) -> tuple[str, ...]:
        """The names of the primary key's columns."""
        return tuple(field.identity for field in self.key) + tuple(field.name for field in self.ordinals)

    @property
    def is_long(self) -> bool:
        """Whether a column of the key is long: then the primary key's index is not in key order."""
        return any(field.long for field in self.key)

    @property
    def is_ordered_apart(self) -> bool:
        """Whether key order is not that of the primary key's index: reading in it needs an index of its own."""
        return any(field.long or field.by_length for field in self.key)

    def field(self, name: str) -> Field:
        """The column of this name."""
        return next(field for field in self.fields if field.name == name)

    @property
    def fields(self) -> tuple[Field, ...]:
        """All columns that hold data, in the table's order."""
        return self.key + self.ordinals + self.columns

    def walk(self) -> Iterator[tuple[Layout, Layout | None]]:
        """This table and all below it, each with its parent; parents first."""
        yield self, None
        for child in self.children:
            for layout, parent in child.walk():
                yield layout, parent or self


def quote(name: str) -> str:
    """A quoted identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A quoted text."""
    return "'" + text.replace("'", "''") + "'"


def names(fields: tuple[Field, ...]) -> str:
    """Quoted column names, for a statement's column list."""
    return ", ".join(quote(field.name) for field in fields)


@functools.lru_cache(maxsize=1024)
def layout(stream: Stream, schema: str) -> Layout:
    """The root table of a stream; its child tables hang below it."""
    key = tuple(_field(column, nullable=False, ordered=True) for column in stream.key)
    columns = [_field(column) for column in stream.columns]
    if stream.rest_column is not None:
        columns.append(_own(stream.rest_column, LogicalType.JSON))
    inherited = tuple(
        _field(column, nullable=False, ordered=True, name=_root_name(column.name)) for column in stream.key
    )
    return Layout(
        schema=schema,
        table=stream.table,
        key=key,
        ordinals=(),
        columns=(*columns, _RESIDUE),
        unique=stream.unique,
        children=tuple(_child(child, schema, inherited, ()) for child in stream.children),
        comment=stream.comment,
    )


def _child(child: Child, schema: str, key: tuple[Field, ...], above: tuple[Field, ...]) -> Layout:
    name = "_ordinal" if not above else f"_ordinal_{len(above) + 1}"
    ordinals = (*above, _own(name, LogicalType.INT32, nullable=False))
    return Layout(
        schema=schema,
        table=child.table,
        key=key,
        ordinals=ordinals,
        columns=(*(_field(column) for column in child.columns), _RESIDUE),
        unique=(),
        children=tuple(_child(below, schema, key, ordinals) for below in child.children),
        comment=child.comment,
    )


def _own(name: str, kind: LogicalType, *, nullable: bool = True) -> Field:
    """A column that is no field's."""
    return Field(name, kind, _NATIVE[kind], Column(name, (), kind, ""), nullable)


_RESIDUE = _own(RESIDUE, LogicalType.BYTES)


def _root_name(key: str) -> str:
    """What a child calls a key column of its root: `_id` → `_root_id`, `id` → `_root_id`."""
    return f"_root{key}" if key.startswith("_") else f"_root_{key}"


def _field(column: Column, *, nullable: bool = True, ordered: bool = False, name: str | None = None) -> Field:
    native = _native(column)
    by_length = ordered and column.type is LogicalType.BYTES and not column.is_canonical
    collate_c = LogicalType.OBJECTID in (column.type, column.items) or (ordered and column.type is LogicalType.TEXT)
    return Field(
        name or column.name, column.type, native, column, nullable, collate_c, column.long, by_length, column.items
    )


def _native(column: Column) -> str:
    if column.type is LogicalType.ARRAY:
        return _native(column.element) + "[]"
    return _NATIVE.get(column.type) or f"numeric({column.precision},{column.scale})"
