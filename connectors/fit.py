"""How well documents fit a plan: why parts of them are kept as residue, and which columns they fill.

A source makes a `Note` of each part of a document that its row does not hold exactly. A target counts the notes of the
rows that it holds, in the transactions that write them, so that after any crash the counts are as right as the rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    import pyarrow as pa

    from tranship.plans.streams import Child, Column, Stream


class Effect(StrEnum):
    """What it means for the row that a part of its document is kept as residue."""

    SHAPE = "shape"
    """The columns hold all there is; how the fields stood (order, absent or null, empty, repeated) they cannot tell."""
    FORM = "form"
    """The column holds an equal value, which the document has in another form."""
    MISFIT = "misfit"
    """The column is NULL, or the child table has no row, although the document has something there."""
    UNNAMED = "unnamed"
    """The plan does not name the field."""


MOST_PLACE = 300
"""Characters of a place that are counted by: a field's name may be longer than an index of the counts can hold."""


class Note(NamedTuple):
    """Why a part of a document is kept as residue. `path` leads to it; `place` is as much of that as the plan names,
    because other names are the data's: they reach no log and no state."""

    path: str
    reason: str
    effect: Effect
    place: str

    @property
    def kind(self) -> Kind:
        """What it is counted as."""
        return Kind(self.place[:MOST_PLACE], self.reason, self.effect)


class Kind(NamedTuple):
    """What notes are counted by."""

    place: str
    reason: str
    effect: Effect


class Cell(NamedTuple):
    """A column of a table, whose values that are not NULL are counted; without a column: the table's rows."""

    table: str
    column: str = ""


Notes: TypeAlias = Mapping[bytes, Sequence[Note]]
"""The notes of documents by their canonical keys. Documents without any are left out."""

NOTHING_NOTED: Notes = {}


@dataclass(frozen=True)
class Fit:
    """Of one stream. `notes` counts what is kept of the rows that the target holds now; `filled` how many values its
    columns had at `filled_at` (seconds since 1970, by the target's clock), or when they were loaded, where it is None.
    """

    notes: Mapping[Kind, int] = field(default_factory=dict)
    filled: Mapping[Cell, int] = field(default_factory=dict)
    filled_at: float | None = None


def noted(notes: Notes, keys: Iterable[bytes]) -> Counter[Kind]:
    """The notes of some documents, counted."""
    return Counter(note.kind for key in keys for note in notes.get(key, ()))


def filled(stream: Stream, rows: pa.RecordBatch) -> Counter[Cell]:
    """The values of a batch, counted: of its root table and of all child tables."""
    counts = Counter({Cell(stream.table): rows.num_rows})
    arrays = dict(zip(rows.schema.names, rows.columns, strict=True))
    _count(counts, stream.table, _columns(stream), arrays)
    _count_below(counts, stream.children, arrays)
    return counts


def _columns(stream: Stream) -> list[str]:
    rest = [stream.rest_column] if stream.rest_column is not None else []
    return [column.name for column in stream.columns] + rest


def _count(counts: Counter[Cell], table: str, names: Iterable[str], arrays: Mapping[str, pa.Array]) -> None:
    for name in names:
        counts[Cell(table, name)] += len(arrays[name]) - arrays[name].null_count


def _count_below(counts: Counter[Cell], children: Iterable[Child], arrays: Mapping[str, pa.Array]) -> None:
    for child in children:
        elements = arrays[child.table].flatten()
        names = [elements.type.field(place).name for place in range(elements.type.num_fields)]
        inner = dict(zip(names, elements.flatten(), strict=True))
        counts[Cell(child.table)] += len(elements)
        _count(counts, child.table, (column.name for column in child.columns), inner)
        _count_below(counts, child.children, inner)


class Field(NamedTuple):
    """A column of a plan, or a child table (without `column`), and the path at which documents have it, as a place.

    `within` is the table whose rows come before: the child table's parent, or the column's own.
    """

    table: str
    column: Column | None
    path: str
    within: str
    optional: bool


def fields(stream: Stream) -> list[Field]:
    """All columns but those of the key and the rest, and all child tables, parents first."""
    root = [_field(stream.table, column, "") for column in stream.columns]
    return root + _below(stream.table, stream.children, "")


def _below(parent: str, children: Iterable[Child], path: str) -> list[Field]:
    found = []
    for child in children:
        at = _join(path, child.path)
        found.append(Field(child.table, None, at, parent, child.filled == "optional"))
        found += [_field(child.table, column, at) for column in child.columns]
        found += _below(child.table, child.children, at)
    return found


def _field(table: str, column: Column, path: str) -> Field:
    return Field(table, column, _join(path, column.path), table, column.filled == "optional")


def _join(path: str, steps: Sequence[str]) -> str:
    return ".".join([path, *steps] if path else steps)[:MOST_PLACE]
