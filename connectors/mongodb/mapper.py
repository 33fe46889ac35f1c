"""The mapper: a stream compiled once, then documents into rows and rows into documents.

The projection law: `unproject(project(raw)) == raw`, byte for byte, for every document that `project` accepts; any
other is quarantined with its path and reason, or refused by the plan's policy. Nothing is changed or dropped silently.
This Python mapper is the reference; a native one may replace it with the same results.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence

import pyarrow as pa

from tranship.connectors.arrowtypes import schema
from tranship.connectors.batch import Batch, Quarantined
from tranship.connectors.errors import UnmappableError
from tranship.connectors.fit import Note, Notes
from tranship.connectors.mongodb import bsonwalk, rows
from tranship.connectors.mongodb.columns import compile_column
from tranship.connectors.mongodb.fields import (
    Branch,
    Document,
    DocumentItem,
    Item,
    Leaf,
    Node,
    Row,
    Rows,
    Slot,
    ValueItem,
)
from tranship.connectors.mongodb.projection import key_of
from tranship.connectors.mongodb.residue import Residue, encode
from tranship.connectors.mongodb.roots import ID, KeySlot, RestNode, RestSlot, UnfitError
from tranship.plans.streams import Child, Column, Rest, Stream, index_rooms
from tranship.plans.targetprofile import TargetProfile


class Mapper:
    """Translates the documents of one stream. Holds no state between calls."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.schema = schema(stream)
        self._root = _root(stream, len(self.schema))

    def project(self, raw: bytes) -> Row:
        """The row of a document. Raises `UnfitError` when it belongs into quarantine, or as the policy says."""
        return self._project(raw)[0]

    def unproject(self, row: Row) -> bytes:
        """The document of a row: what was projected, with what has changed in the row since."""
        if row[-1] is None:
            return self._root.give(row)
        residue = Residue(row[-1])
        return self._root.restore(row, residue, residue.root)

    def batch(self, documents: Iterable[bytes]) -> Batch:
        """The documents as a batch: rows, quarantine entries, notes. Raises `UnmappableError`."""
        found: list[Row] = []
        quarantined: list[Quarantined] = []
        noted: dict[bytes, list[Note]] = {}
        size = 0
        for raw in documents:
            size += len(raw)
            try:
                row, notes = self._project(raw)
            except UnfitError as error:
                quarantined.append(Quarantined(key_of(raw), error.path, error.reason, raw))
                continue
            found.append(row)
            if notes:
                noted[row[0]] = notes
        return Batch(rows.to_batch(found, self.schema), tuple(quarantined), size, noted)

    def documents(self, batch: pa.RecordBatch) -> list[bytes]:
        """The documents of a batch's rows, in its order."""
        return [self.unproject(row) for row in rows.from_batch(batch)]

    def notes(self, batch: pa.RecordBatch) -> Notes:
        """The notes of a batch's rows, as `batch` made them of their documents; none of a row that another program has
        written so that no document is left in it."""
        noted: dict[bytes, list[Note]] = {}
        for row in rows.from_batch(batch):
            try:
                _, notes = self._taken(self.unproject(row))
            except (UnmappableError, bsonwalk.MalformedBSONError, UnfitError, ValueError, IndexError, struct.error):
                continue
            if notes:
                noted[row[0]] = notes
        return noted

    def _project(self, raw: bytes) -> tuple[Row, list[Note]]:
        row, notes = self._taken(raw)
        if notes and self.stream.rest is not Rest.RESIDUE:
            self._refuse(raw, notes[0])
        return row, notes

    def _taken(self, raw: bytes) -> tuple[Row, list[Note]]:
        """The row of a document and its notes, whatever the policy says of these."""
        doc = Document(raw)
        row = self._root.new_row()
        try:
            template = self._root.take(doc, 0, len(raw), row)
        except (bsonwalk.MalformedBSONError, ValueError, IndexError, struct.error) as error:
            raise _malformed(raw, error) from error
        if row[0] is None:
            raise UnfitError(ID, "missing")
        if template is not None:
            row[-1] = encode(template)
        return row, doc.notes

    def _refuse(self, raw: bytes, note: Note) -> None:
        path, reason = note.path, note.reason
        if self.stream.rest is Rest.FAIL:
            raise UnmappableError(
                f"stream {self.stream.name}: a document does not fit the plan at {path}: {reason}",
                stream=self.stream.name,
                key=key_of(raw),
                path=path,
            )
        raise UnfitError(path, reason)


def _malformed(raw: bytes, error: Exception) -> Exception:
    """What decoding stumbled over, with its path; the error itself when the document is well formed after all."""
    if not (isinstance(error, bsonwalk.MalformedBSONError) and error.path):
        try:
            bsonwalk.check_document(raw, 0, len(raw), "")
        except bsonwalk.MalformedBSONError as found:
            error = found
    if isinstance(error, bsonwalk.MalformedBSONError):
        return UnfitError(error.path, f"malformed: {error.reason}")
    return error


_Factory = tuple[tuple[str, ...], Callable[[str, str, int], Slot]]
"""A slot's path, and what makes it from its name, its whole path and its depth."""


def _root(stream: Stream, width: int) -> Node:
    composite = None
    if stream.key[0].path != (ID,):
        keys = [_leaf(column, place, stream.target) for place, column in enumerate(stream.key, 1)]
        composite = Node(_slots([(path[1:], make) for path, make in keys], ID, 1), ID, 1)
    factories: list[_Factory] = [((ID,), lambda _name, _path, _depth: KeySlot(stream.key, composite, stream.target))]
    index = 1 + len(stream.key)
    rooms = index_rooms(stream)
    factories += [
        _leaf(column, index + place, stream.target, rooms.get(column.name))
        for place, column in enumerate(stream.columns)
    ]
    index += len(stream.columns)
    rest = index
    if stream.rest_column is not None:
        named = {path[0] for path, _ in factories} | {child.path[0] for child in stream.children}
        unnamed = [name for name in stream.order if name not in named]
        factories += [((name,), lambda name, _path, _depth: RestSlot(name, rest)) for name in unnamed]
        index += 1
    factories += [_rows(child, index + place, stream.target) for place, child in enumerate(stream.children)]
    slots = _in_order(_slots(factories, "", 0), stream.order)
    return Node(slots, "", 0, width) if stream.rest_column is None else RestNode(slots, width, rest)


def _in_order(slots: list[Slot], order: Sequence[str]) -> list[Slot]:
    """The slots that the plan orders, in that order; then the others as declared."""
    places = {name.encode(): place for place, name in enumerate(order)}
    return sorted(slots, key=lambda slot: places.get(slot.name, len(places)))


def _slots(factories: Sequence[_Factory], parent: str, depth: int) -> list[Slot]:
    """The slots of a node, one for each first name; names with more behind them become branches."""
    groups: dict[str, list[_Factory]] = {}
    for path, make in factories:
        groups.setdefault(path[0], []).append((path[1:], make))
    slots: list[Slot] = []
    for name, inner in groups.items():
        whole = f"{parent}.{name}" if parent else name
        if all(rest for rest, _ in inner):
            slots.append(Branch(name, whole, depth, Node(_slots(inner, whole, depth + 1), whole, depth + 1)))
        elif len(inner) == 1:
            slots.append(inner[0][1](name, whole, depth))
        else:
            raise ValueError(f"{whole}: two columns or child tables want the same field")
    return slots


def _leaf(column: Column, index: int, target: TargetProfile, room: int | None = None) -> _Factory:
    def make(name: str, path: str, depth: int) -> Slot:
        program = compile_column(column, depth, target, room)
        return Leaf(name, path, depth, index, program=program, null=column.null)

    return column.path, make


def _rows(child: Child, index: int, target: TargetProfile) -> _Factory:
    def make(name: str, path: str, depth: int) -> Slot:
        return Rows(name, path, depth, index, item=_item(child, path, depth + 1, target), empty=child.empty)

    return child.path, make


def _item(child: Child, path: str, depth: int, target: TargetProfile) -> Item:
    """What the elements of an array are that lies so many levels down."""
    if [column.path for column in child.columns] == [()]:
        column = child.columns[0]
        program = compile_column(column, depth, target)
        return ValueItem(Leaf("", path, depth, 0, program=program, null="null"))
    factories = [_leaf(column, place, target) for place, column in enumerate(child.columns)]
    factories += [_rows(inner, len(child.columns) + place, target) for place, inner in enumerate(child.children)]
    slots = _in_order(_slots(factories, path, depth + 1), child.order)
    return DocumentItem(Node(slots, path, depth + 1, len(factories) + 1), path)
