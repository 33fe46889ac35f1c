"""What is proposed for a collection: streams, tables, columns, each with the figures that speak for and against it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Path = tuple[str, ...]


@dataclass
class Column:
    """A column. `spec`: what the plan says of it, `type` first, without its path. `off`: values that it does not hold
    (NULL, and residue); `form`: those that it holds in another form (residue). `width`: bytes of a usual value."""

    path: Path
    spec: dict[str, Any]
    filled: int = 0
    off: int = 0
    form: int = 0
    width: float = 8.0
    notes: list[str] = field(default_factory=list)
    name: str = ""


@dataclass
class Table:
    """A table: of a stream, or of an array's elements. `rows`: how many there were; `off` and `form`: documents or
    elements with a residue that is no single column's, such as one of another order. `rare`: fields that are left to
    the residue. `order`: of the top fields that it maps."""

    path: Path
    rows: int
    columns: list[Column] = field(default_factory=list)
    children: list[Table] = field(default_factory=list)
    empty: str = "empty"
    off: int = 0
    form: int = 0
    rare: list[str] = field(default_factory=list)
    order: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    name: str = ""

    def walk(self) -> Iterator[Table]:
        """This table and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()

    @property
    def residues(self) -> int:
        """At most so many rows have a residue."""
        return min(self.rows, self.off + self.form + sum(column.off + column.form for column in self.columns))


@dataclass
class Stream:
    """A stream: its root table and where it comes from. `documents`: how many it is likely to have."""

    name: str
    collection: str
    table: Table
    key: list[Column]
    documents: int
    read: int
    where: dict[str, Any] | None = None
    indexes: list[dict[str, Any]] = field(default_factory=list)
    rest: str = ""
    aside: int = 0
    """Documents that were read and go to quarantine."""
    notes: list[str] = field(default_factory=list)


def share(count: int, total: int) -> str:
    """A part of a whole, as people read it."""
    if not total:
        return "0 %"
    percent = 100 * count / total
    if 0 < percent < 0.1:
        return "under 0.1 %"
    if 99.9 < percent < 100:
        return "over 99.9 %"
    return f"{percent:.1f} %".replace(".0 %", " %")
