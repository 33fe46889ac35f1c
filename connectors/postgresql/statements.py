"""The statements that make what belongs to a plan, as texts: they can be shown without any driver."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tranship.connectors.postgresql.keyterms import order_terms
from tranship.connectors.postgresql.layout import Layout, layout, quote
from tranship.connectors.postgresql.naming import derived, foreign_key, order_index, primary_key
from tranship.plans.streams import Stream


def making(table: Layout) -> list[str]:
    """What makes a table, with the index that it is read by where the primary key's is in another order."""
    parts = [field.definition for field in table.fields]
    parts.append(f"CONSTRAINT {quote(primary_key(table))} PRIMARY KEY ({_quoted(table.primary)})")
    made = [f"CREATE TABLE {table.name} ({', '.join(parts)})"]
    if table.is_ordered_apart:
        made.append(f"CREATE INDEX {quote(order_index(table))} ON {table.name} ({order_terms(table)})")
    return made


def _quoted(columns: Sequence[str]) -> str:
    return ", ".join(map(quote, columns))


@dataclass(frozen=True)
class Wanted:
    """One index or unique constraint of the plan."""

    stream: str
    table: Layout
    columns: tuple[str, ...]
    name: str

    @property
    def label(self) -> str:
        return f"{self.table.schema}.{self.table.table} ({', '.join(self.columns)})"

    @property
    def quoted(self) -> str:
        return f"{quote(self.table.schema)}.{quote(self.name)}"

    @property
    def create(self) -> str:
        """Makes a non-unique one."""
        return f"CREATE INDEX {quote(self.name)} ON {self.table.name} ({self.column_list})"

    @property
    def create_unique(self) -> str:
        """Makes a unique one while rows change."""
        return f"CREATE UNIQUE INDEX CONCURRENTLY {quote(self.name)} ON {self.table.name} ({self.column_list})"

    @property
    def constrain(self) -> str:
        """Makes a constraint of the unique one."""
        name = quote(self.name)
        return f"ALTER TABLE {self.table.name} ADD CONSTRAINT {name} UNIQUE USING INDEX {name}"

    @property
    def column_list(self) -> str:
        return ", ".join(quote(column) for column in self.columns)


def plain(streams: Sequence[Stream], schema: str) -> Iterator[Wanted]:
    """The plan's non-unique indexes."""
    for stream in streams:
        for index in stream.indexes:
            name = derived(stream.table, index.columns, "idx")
            yield Wanted(stream.name, layout(stream, schema), index.columns, name)


def unique(streams: Sequence[Stream], schema: str) -> Iterator[Wanted]:
    """The plan's unique columns."""
    for stream in streams:
        for table, _ in layout(stream, schema).walk():
            for column in table.unique:
                yield Wanted(stream.name, table, (column,), derived(table.table, (column,), "key"))


def adding(table: Layout, parent: Layout) -> str:
    """The statement that adds a child table's foreign key, for what is written from then on."""
    above, primary = (", ".join(map(quote, names)) for names in (table.primary[:-1], parent.primary))
    return (
        f"ALTER TABLE {table.name} ADD CONSTRAINT {quote(foreign_key(table))} FOREIGN KEY ({above}) "
        f"REFERENCES {parent.name} ({primary}) ON DELETE CASCADE NOT VALID"
    )


def validating(table: Layout) -> str:
    """The statement that checks the rows that were there before."""
    return f"ALTER TABLE {table.name} VALIDATE CONSTRAINT {quote(foreign_key(table))}"
