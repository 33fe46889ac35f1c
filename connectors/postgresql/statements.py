"""The statements that make what belongs to a plan, as texts: `script` shows them without any driver."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tranship.connectors.postgresql.keyterms import order_terms
from tranship.connectors.postgresql.layout import Layout, layout, literal, quote
from tranship.connectors.postgresql.naming import foreign_key, index_name, order_index, primary_key
from tranship.connectors.postgresql.predicates import listed, predicate
from tranship.plans.streams import Index, Stream


def making(table: Layout) -> list[str]:
    """What makes a table, with the index that it is read by where the primary key's is in another order."""
    parts = [field.definition for field in table.fields]
    parts.append(f"CONSTRAINT {quote(primary_key(table))} PRIMARY KEY ({_quoted(table.primary)})")
    parts += [f"CONSTRAINT {quote(name)} CHECK ({condition})" for name, condition in listed(table).items()]
    inside = ",\n    ".join(parts)
    made = [f"CREATE TABLE {table.name} (\n    {inside}\n)"]
    if table.is_ordered_apart:
        made.append(f"CREATE INDEX {quote(order_index(table))} ON {table.name} ({order_terms(table)})")
    return [*made, *_comments(table)]


def _comments(table: Layout) -> Iterator[str]:
    if table.comment:
        yield f"COMMENT ON TABLE {table.name} IS {literal(table.comment)}"
    for field in table.columns if table.ordinals else table.fields:  # a child's key columns repeat its root's
        if field.column.comment:
            yield f"COMMENT ON COLUMN {table.name}.{quote(field.name)} IS {literal(field.column.comment)}"


def _quoted(columns: Sequence[str]) -> str:
    return ", ".join(map(quote, columns))


@dataclass(frozen=True)
class Wanted:
    """One index or unique constraint of the plan."""

    stream: str
    table: Layout
    index: Index

    @property
    def name(self) -> str:
        return index_name(self.table.table, self.index)

    @property
    def kind(self) -> str:
        """What people call it."""
        return "unique constraint" if self.index.is_constraint else "unique index" if self.index.unique else "index"

    @property
    def label(self) -> str:
        return f"{self.table.schema}.{self.table.table} ({', '.join(self.index.columns)})"

    @property
    def quoted(self) -> str:
        return f"{quote(self.table.schema)}.{quote(self.name)}"

    @property
    def create(self) -> str:
        """Makes it while nothing changes, but for a constraint, which `still` makes."""
        unique = "UNIQUE " if self.index.unique else ""
        return f"CREATE {unique}INDEX {quote(self.name)} ON {self.table.name} {self._over}"

    @property
    def create_unique(self) -> str:
        """Makes a unique one while rows change."""
        return f"CREATE UNIQUE INDEX CONCURRENTLY {quote(self.name)} ON {self.table.name} {self._over}"

    @property
    def constrain(self) -> str:
        """Makes a constraint of the unique one."""
        name = quote(self.name)
        return f"ALTER TABLE {self.table.name} ADD CONSTRAINT {name} UNIQUE USING INDEX {name}"

    @property
    def still(self) -> str:
        """Makes it, whatever it is, while nothing changes."""
        if not self.index.is_constraint:
            return self.create
        return f"ALTER TABLE {self.table.name} ADD CONSTRAINT {quote(self.name)} UNIQUE ({self.column_list})"

    @property
    def column_list(self) -> str:
        return ", ".join(quote(column) for column in self.index.columns)

    @property
    def _over(self) -> str:
        down = self.index.descending
        terms = ", ".join(quote(column) + (" DESC" if column in down else "") for column in self.index.columns)
        return f"({terms})" + (f" WHERE {self.condition()}" if self.index.where else "")

    @property
    def twice(self) -> str:
        """Asks which values more than one row holds."""
        rows = f"num_nulls({self.column_list}) = 0" + (f" AND {self.condition()}" if self.index.where else "")
        columns = self.column_list
        return f"SELECT {columns} FROM {self.table.name} WHERE {rows} GROUP BY {columns} HAVING count(*) > 1"

    def condition(self, of: str = "") -> str:
        """What a row has to meet to be in it; `of`: how the row is called."""
        return predicate(self.table, self.index.where, of)


def plain(streams: Sequence[Stream], schema: str) -> Iterator[Wanted]:
    """The plan's non-unique indexes."""
    for stream in streams:
        for index in stream.plain_indexes:
            yield Wanted(stream.name, layout(stream, schema), index)


def unique(streams: Sequence[Stream], schema: str) -> Iterator[Wanted]:
    """The plan's unique columns and indexes."""
    for stream in streams:
        table = layout(stream, schema)
        yield from (Wanted(stream.name, table, index) for index in table.unique)


def referring(table: Layout, parent: Layout) -> str:
    """The statement that adds a child table's foreign key."""
    above, primary = (", ".join(map(quote, names)) for names in (table.primary[:-1], parent.primary))
    return (
        f"ALTER TABLE {table.name} ADD CONSTRAINT {quote(foreign_key(table))} FOREIGN KEY ({above}) "
        f"REFERENCES {parent.name} ({primary}) ON DELETE CASCADE"
    )


def adding(table: Layout, parent: Layout) -> str:
    """The same for what is written from then on; what was there before is for `validating`."""
    return f"{referring(table, parent)} NOT VALID"


def validating(table: Layout) -> str:
    """The statement that checks the rows that were there before."""
    return f"ALTER TABLE {table.name} VALIDATE CONSTRAINT {quote(foreign_key(table))}"
