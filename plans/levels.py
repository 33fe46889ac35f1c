"""What rules look at: a plan, and its tables one by one, each with its place in the plan."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tranship.plans.models import Plan
from tranship.plans.problems import Path
from tranship.plans.streams import DIGEST_SUFFIX, Child, Column, Stream


@dataclass(frozen=True)
class Subject:
    """What a rule looks at: a plan and its resolved streams."""

    plan: Plan
    streams: tuple[Stream, ...]

    @property
    def levels(self) -> Iterator[Level]:
        """Every table of every stream."""
        for stream in self.streams:
            yield from levels(stream)


@dataclass(frozen=True)
class Named:
    """A name in a table, its place in the plan, and what it names; None for the rest column and for digests of keys."""

    name: str
    path: Path
    what: Column | Child | None = None


@dataclass(frozen=True)
class Level:
    """One table: of a stream, or of the elements of an array, which then is `child`.

    `table_path` is where the plan names the table.
    """

    path: Path
    table: str
    table_path: Path
    key: tuple[Column, ...]
    columns: tuple[Column, ...]
    children: tuple[Child, ...]
    rest_column: str | None = None
    child: Child | None = None

    def column_names(self) -> Iterator[Named]:
        """The name of every column."""
        for column in self.key:
            yield Named(column.name, (*self.path, "key", column.name), column)
        for column in self.columns:
            yield Named(column.name, (*self.path, "columns", column.name), column)
        if self.rest_column is not None:
            yield Named(self.rest_column, (*self.path, "rest", "json"))

    def names(self) -> Iterator[Named]:
        """The names of long keys' digests, of the columns, and of the child tables, which are arrays in its rows.

        Digests come first: where one clashes, it is the other name that can be chosen freely.
        """
        for column in self.key:
            if column.long:
                yield Named(column.name + DIGEST_SUFFIX, (*self.path, "key", column.name, "long"))
        yield from self.column_names()
        for child in self.children:
            yield Named(child.table, (*self.path, "children", child.table), child)

    def fields(self) -> Iterator[tuple[tuple[str, ...], Path]]:
        """Every field path that is read for this table, with its place."""
        for column in self.key:
            yield column.path, (*self.path, "key", column.name, "path")
        yield from self.fields_beside_key()

    def fields_beside_key(self) -> Iterator[tuple[tuple[str, ...], Path]]:
        """As `fields`, without the key."""
        for column in self.columns:
            yield column.path, (*self.path, "columns", column.name, "path")
        for child in self.children:
            yield child.path, (*self.path, "children", child.table, "path")


def levels(stream: Stream) -> Iterator[Level]:
    """The stream's own table, then its child tables at every depth."""
    path: Path = ("streams", stream.name)
    yield Level(path, stream.table, (*path, "table"), stream.key, stream.columns, stream.children, stream.rest_column)
    yield from _below(path, stream.children)


def _below(parent: Path, children: tuple[Child, ...]) -> Iterator[Level]:
    for child in children:
        path = (*parent, "children", child.table)
        yield Level(path, child.table, path, (), child.columns, child.children, child=child)
        yield from _below(path, child.children)
