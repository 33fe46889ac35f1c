"""The published tables: which stream each belongs to, how it has to look, and which keys a change of it names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tranship.connectors.errors import SourceChangedError
from tranship.connectors.postgresql.decoding.keytexts import KeyTexts
from tranship.connectors.postgresql.decoding.messages import UNSENT, Attribute, Change, Relation, Row, Unsent, Value
from tranship.connectors.postgresql.layout import Layout, layout
from tranship.connectors.protocols import Key
from tranship.plans.streams import Endpoint, Stream

TypeNames = Callable[[Sequence[Attribute]], Sequence[str]]
"""Asks the server how it writes the types of columns."""

_GOES_ON = "The way back cannot follow it any more"


def all_tables(streams: Sequence[Stream], schema: str) -> list[Layout]:
    """Root and child tables of streams."""
    return [table for stream in streams for table, _ in layout(stream, schema).walk()]


@dataclass(frozen=True)
class Known:
    """A table as it was found to be. `places`: those of the key's columns in a row; empty for a table whose changes
    nobody asked for. `marks`: it is the table of markers."""

    stream: str
    keys: KeyTexts | None
    places: tuple[int, ...]
    marks: bool = False


class Tables:
    """What relation messages announce, judged by the plan. A table is judged when a change of it counts: how it looked
    in transactions that were handled before is of no concern."""

    def __init__(
        self, endpoint: Endpoint, streams: Sequence[Stream], watched: Sequence[Stream], markers: str, ask: TypeNames
    ) -> None:
        self._ask = ask
        self._markers = (endpoint.state_schema, markers)
        self._streams = {
            (table.schema, table.table): (stream, table)
            for stream in streams
            for table, _ in layout(stream, endpoint.schema).walk()
        }
        self._watched = {stream.name for stream in watched}
        self._announced: dict[int, Relation] = {}
        self._known: dict[int, Known] = {}

    def announce(self, relation: Relation) -> None:
        """From here on the table looks like this."""
        self._announced[relation.oid] = relation
        self._known.pop(relation.oid, None)

    def known(self, oid: int) -> Known:
        """The table of a change that counts. Raises `SourceChangedError` if it is not as the plan says."""
        if oid not in self._known:
            self._known[oid] = self._judged(self._announced[oid])
        return self._known[oid]

    def called(self, oid: int) -> str:
        """The table's name."""
        return self._announced[oid].table

    def is_watched(self, oid: int) -> bool:
        """Whether it is a table of a stream whose changes are asked for."""
        relation = self._announced[oid]
        found = self._streams.get((relation.schema, relation.table))
        return found is not None and found[0].name in self._watched

    def _judged(self, relation: Relation) -> Known:
        name = (relation.schema, relation.table)
        if name == self._markers:
            return Known("", None, (next(i for i, c in enumerate(relation.columns) if c.name == "name"),), marks=True)
        found = self._streams.get(name)
        if found is None:
            raise SourceChangedError(
                f"table {relation.table} is published, but the plan has no such table: one was renamed, or somebody "
                f"added it to the publication. {_GOES_ON}"
            )
        stream, table = found
        if stream.name not in self._watched:
            return Known(stream.name, None, ())
        self._check(relation, table)
        at = {column.name: place for place, column in enumerate(relation.columns)}
        return Known(stream.name, KeyTexts(stream, table), tuple(at[field.name] for field in table.key))

    def _check(self, relation: Relation, table: Layout) -> None:
        planned = {field.name: field.native for field in table.fields}
        digests = {field.identity for field in table.key if field.long}
        columns = [column for column in relation.columns if column.name not in digests]
        types = dict(zip((column.name for column in columns), self._ask(columns), strict=True))
        differing = sorted(name for name in planned.keys() | types.keys() if planned.get(name) != types.get(name))
        if differing:
            raise SourceChangedError(
                f"table {table.table} has other columns than the plan says: {', '.join(differing)}. {_GOES_ON}"
            )
        if relation.identity not in ("f" if table.is_long else "df"):
            raise SourceChangedError(
                f"table {table.table} has another REPLICA IDENTITY than it was given: deletes of it would not say of "
                f"which row. {_GOES_ON}"
            )


def keys_of(known: Known, keys: KeyTexts, change: Change, called: str) -> set[Key]:
    """The root keys that a change makes dirty: one, or both if it changed the key."""
    rows = [row for row in (change.old, _completed(change)) if row is not None]
    return {keys.key([_text(row[place], called) for place in known.places]) for row in rows}


def _completed(change: Change) -> Row | None:
    """The row as it is now; what an update left alone as it was, where that is sent."""
    if change.new is None or change.old is None:
        return change.new
    return tuple(before if now is UNSENT else now for before, now in zip(change.old, change.new, strict=True))


def _text(value: Value, called: str) -> str:
    if value is None or isinstance(value, Unsent):
        # By a replica identity that does not have the key a delete names no row, and the server says nothing of it.
        raise SourceChangedError(
            f"table {called}: a change does not say of which key it is, so its REPLICA IDENTITY lacked that. {_GOES_ON}"
        )
    return value.decode()
