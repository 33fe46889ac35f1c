"""The tables of a plan one by one, each with its place in the plan: how rules walk over streams and child tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tranship.plans.problems import Path
from tranship.plans.streams import DIGEST_SUFFIX, Child, Column, Stream


@dataclass(frozen=True)
class Level:
    """One table: of a stream, or of the elements of an array. `table_path` is where the plan names the table."""

    path: Path
    table: str
    table_path: Path
    key: tuple[Column, ...]
    columns: tuple[Column, ...]
    children: tuple[Child, ...]
    rest_column: str | None = None

    def column_names(self) -> Iterator[tuple[str, Path]]:
        """The name of every column, with its place."""
        for column in self.key:
            yield column.name, (*self.path, "key", column.name)
        for column in self.columns:
            yield column.name, (*self.path, "columns", column.name)
        if self.rest_column is not None:
            yield self.rest_column, (*self.path, "rest", "json")

    def names(self) -> Iterator[tuple[str, Path]]:
        """The names of the columns, of long keys' digests, and of the child tables, which are arrays in its rows."""
        yield from self.column_names()
        for column in self.key:
            if column.long:
                yield column.name + DIGEST_SUFFIX, (*self.path, "key", column.name, "long")
        for child in self.children:
            yield child.table, (*self.path, "children", child.table)

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
        yield Level(path, child.table, path, (), child.columns, child.children)
        yield from _below(path, child.children)
