"""A stream's fields, compiled: how each named field of a document becomes columns and child rows, and back.

A `Node` is a document with named fields: the root, a subdocument on the way to a column, or an array's element. Its
fields are *slots*: `Leaf` (a column), `Branch` (a subdocument), `Rows` (a child table); the root adds the key and the
members of the rest column (`connectors.mongodb.roots`). A row is a list of plain values in the order of its table;
slots know their places in it.

Every slot keeps the same law. `take` puts a value into the row and returns None if `give` makes exactly that value of
the row again; else it returns the piece for the residue. `restore` gives a kept value back as long as taking it would
still make the row's present values of it; when they have changed, the row wins.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, TypeAlias

from tranship.connectors.fit import Effect, Note
from tranship.connectors.keycodec import document
from tranship.connectors.mongodb import bsonwalk as b
from tranship.connectors.mongodb.residue import Kept, Piece, Residue, Template, encode, encode_value
from tranship.connectors.mongodb.values import Program, off_type

Row: TypeAlias = list[Any]


class Document:
    """One document on its way into rows: its bytes, and why parts of it go into the residue."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.notes: list[Note] = []

    def keep(self, element: b.Element, parent: str, depth: int, note: Note) -> Kept:
        """Keep an element of a document so many levels down as it is. Raises `MalformedBSONError`."""
        b.check(self.raw, element, parent, depth)
        self.notes.append(note)
        kind, _, start, end = element
        return Kept(kind, self.raw[start:end])


def _shape(path: str, reason: str) -> Note:
    return Note(path, reason, Effect.SHAPE, path)


def _misfit(path: str, reason: str) -> Note:
    return Note(path, reason, Effect.MISFIT, path)


def _not_that(path: str, kind: int) -> Note:
    """Of a value that should be a document or an array: null says that there is nothing, any other is not held."""
    return _shape(path, "null") if kind == b.NULL else _misfit(path, off_type(kind))


class Slot(ABC):
    """One named field. `order` is its place among the fields of its node, `path` its name for people, `depth` how many
    levels below the root the document or array lies that has it.

    `required`: a row in which all of the slot is NULL or empty stands for a document that has the field.
    `kind` and `program` are set where a value of that type may be read without calling `take`.
    """

    kind = -1
    index = -1
    program: Program | None = None

    def __init__(self, name: str, path: str, depth: int, required: bool) -> None:
        self.name = name.encode()
        self.path = path
        self.depth = depth
        self.parent = path[: -len(name)].rstrip(".")
        self.required = required
        self.order = -1

    @abstractmethod
    def take(self, doc: Document, element: b.Element, row: Row) -> Piece:
        """Put a value into the row; the piece for the residue, or None when the row holds it exactly."""

    @abstractmethod
    def give(self, row: Row) -> bytes:
        """The element that the row's values stand for; nothing when they stand for a missing field."""

    @abstractmethod
    def restore(self, row: Row, kept: Kept) -> bytes:
        """The kept element, if the row still has the values that were taken from it, else `give`."""

    @abstractmethod
    def blank(self, row: Row) -> bool:
        """Whether the row has no value here."""

    def note(self, reason: str) -> Note:
        """A note about how the field stands in its document, not about its value."""
        return _shape(self.path, reason)

    def element(self, kind: int, value: bytes) -> bytes:
        """A whole element of this field."""
        return bytes((kind,)) + self.name + b"\0" + value


class Leaf(Slot):
    """A field that one column holds."""

    def __init__(self, name: str, path: str, depth: int, index: int, *, program: Program, null: str) -> None:
        super().__init__(name, path, depth, required=null == "null")
        self.index = index
        self.program = program
        self.kind = program.kind

    def take(self, doc: Document, element: b.Element, row: Row) -> Piece:
        kind, _, start, end = element
        value, reason = self._judge(kind, doc.raw, start, end)
        row[self.index] = value
        if not reason:
            return None
        effect = Effect.FORM if value is not None else Effect.SHAPE if kind == b.NULL else Effect.MISFIT
        return doc.keep(element, self.parent, self.depth, Note(self.path, reason, effect, self.path))

    def _judge(self, kind: int, raw: bytes, start: int, end: int) -> tuple[Any, str]:
        assert self.program is not None
        if kind == b.NULL and (self.required or self.kind >= 0):
            return None, "" if self.required else "null"
        return self.program.judge(kind, raw, start, end)

    def give(self, row: Row) -> bytes:
        assert self.program is not None
        value = row[self.index]
        if value is None:
            return self.element(b.NULL, b"") if self.required else b""
        return self.element(*self.program.emit(value))

    def restore(self, row: Row, kept: Kept) -> bytes:
        assert self.program is not None
        value = self.value_of(kept)
        return self.element(kept.kind, kept.value) if self.program.same(value, row[self.index]) else self.give(row)

    def value_of(self, kept: Kept) -> Any:
        """What the column holds of a kept value."""
        assert self.program is not None
        raw = kept.value
        if kept.kind == self.kind:
            value = self.program.read(raw, 0, len(raw))
            if value is not None:
                return value
        return self._judge(kept.kind, raw, 0, len(raw))[0]

    def blank(self, row: Row) -> bool:
        return row[self.index] is None


class Branch(Slot):
    """A subdocument whose fields have slots of their own, in the same row."""

    def __init__(self, name: str, path: str, depth: int, node: Node) -> None:
        super().__init__(name, path, depth, required=node.required > 0)
        self.node = node

    def take(self, doc: Document, element: b.Element, row: Row) -> Piece:
        kind, _, start, end = element
        if kind != b.DOCUMENT:
            return doc.keep(element, self.parent, self.depth, _not_that(self.path, kind))
        template = self.node.take(doc, start, end, row)
        if template is None and end - start == 5:  # NULL everywhere stands for a missing subdocument
            doc.notes.append(_shape(self.path, "empty"))
            return []
        return template

    def give(self, row: Row) -> bytes:
        body = self.node.give(row)
        return self.element(b.DOCUMENT, body) if len(body) > 5 else b""

    def restore(self, row: Row, kept: Kept) -> bytes:
        return self.element(kept.kind, kept.value) if self.blank(row) else self.give(row)

    def blank(self, row: Row) -> bool:
        return all(slot.blank(row) for slot in self.node.order)


_EMPTY_SIZE = 5
"""Bytes of a document without fields."""

_EMPTY = {"empty": (b.ARRAY, b"\x05\0\0\0\0"), "null": (b.NULL, b"")}


class Rows(Slot):
    """An array whose elements are the rows of a child table. `item` says what an element is."""

    def __init__(self, name: str, path: str, depth: int, index: int, *, item: Item, empty: str) -> None:
        super().__init__(name, path, depth, required=empty != "missing")
        self.index = index
        self.item = item
        self._empty = _EMPTY.get(empty)

    def take(self, doc: Document, element: b.Element, row: Row) -> Piece:
        kind, _, start, end = element
        if kind == b.ARRAY and end - start > 5:
            elements = b.split(doc.raw, start, end, self.path)
            if [element[1] for element in elements] == b.array_names(len(elements)):
                row[self.index] = [self.item.take(doc, inner) for inner in elements]
                return None
            return doc.keep(element, self.parent, self.depth, _misfit(self.path, "names of array elements"))
        if self._empty is not None and self._empty[0] == kind and doc.raw[start:end] == self._empty[1]:
            return None
        note = _shape(self.path, "empty") if kind == b.ARRAY else _not_that(self.path, kind)
        return doc.keep(element, self.parent, self.depth, note)

    def give(self, row: Row) -> bytes:
        rows = row[self.index]
        if not rows:
            return b"" if self._empty is None else self.element(*self._empty)
        parts: list[bytes] = []
        for place, inner in enumerate(rows):
            kind, value = self.item.give(inner)
            parts += (bytes((kind,)), b"%d\0" % place, value)
        return self.element(b.ARRAY, document(parts))

    def restore(self, row: Row, kept: Kept) -> bytes:
        return self.element(kept.kind, kept.value) if self.blank(row) else self.give(row)

    def blank(self, row: Row) -> bool:
        return not row[self.index]


class Item(ABC):
    """What an array's element is. The last place of its row is the residue."""

    @abstractmethod
    def take(self, doc: Document, element: b.Element) -> Row:
        """The row of an element, with its residue."""

    @abstractmethod
    def give(self, row: Row) -> tuple[int, bytes]:
        """The element (type byte, value bytes) that a row stands for."""


class DocumentItem(Item):
    """An element that should be a document."""

    def __init__(self, node: Node, path: str) -> None:
        self.node = node
        self.path = path

    def take(self, doc: Document, element: b.Element) -> Row:
        kind, _, start, end = element
        row = self.node.new_row()
        if kind == b.DOCUMENT:
            template = self.node.take(doc, start, end, row)
            if template is not None:
                row[-1] = encode(template)
        else:
            effect = Effect.SHAPE if kind == b.NULL else Effect.MISFIT
            note = Note(self.path, off_type(kind), effect, self.path)
            row[-1] = encode_value(doc.keep(element, self.path, self.node.depth - 1, note))
        return row

    def give(self, row: Row) -> tuple[int, bytes]:
        if row[-1] is None:
            return b.DOCUMENT, self.node.give(row)
        residue = Residue(row[-1])
        if residue.value is None:
            return b.DOCUMENT, self.node.restore(row, residue, residue.root)
        if all(slot.blank(row) for slot in self.node.order):
            return residue.value.kind, residue.value.value
        return b.DOCUMENT, self.node.give(row)


class ValueItem(Item):
    """An element that is a value, held by the one column of its table. NULL stands for null: no element is missing."""

    def __init__(self, leaf: Leaf) -> None:
        self.leaf = leaf
        leaf.required = True

    def take(self, doc: Document, element: b.Element) -> Row:
        kind, _, start, end = element
        row: Row = [None, None]
        if kind == self.leaf.kind and self.leaf.program is not None:
            row[0] = self.leaf.program.read(doc.raw, start, end)
            if row[0] is not None:
                return row
        kept = self.leaf.take(doc, element, row)
        if isinstance(kept, Kept):
            row[1] = encode_value(kept)
        return row

    def give(self, row: Row) -> tuple[int, bytes]:
        residue = Residue(row[1]).value if row[1] is not None else None
        element = self.leaf.give(row) if residue is None else self.leaf.restore(row, residue)
        return element[0], element[len(self.leaf.name) + 2 :]


class Node:
    """A document's named fields. `depth` is how many levels below the root it lies, `width` the number of values in its
    row, for nodes that have rows of their own."""

    def __init__(self, slots: Sequence[Slot], path: str, depth: int, width: int = 0) -> None:
        self.depth = depth
        self.order = tuple(slots)
        self.slots = {slot.name: slot for slot in slots}
        for place, slot in enumerate(slots):
            slot.order = place
        self.path = path
        self.required = sum(slot.required for slot in slots)
        self._new: Row = [None] * width
        for slot in _own_rows(self) if width else ():
            self._new[slot.index] = ()

    def new_row(self) -> Row:
        """A row without any value."""
        return self._new.copy()

    def take(self, doc: Document, start: int, end: int, row: Row) -> Template | None:
        """Put a document's fields into the row; its template, or None when the row holds all of it exactly."""
        raw = doc.raw
        elements = b.split(raw, start, end, self.path)
        slots = self.slots
        pieces: list[Piece] = []
        last, required, plain = -1, 0, True
        # Names before the present one: looked at only behind the first field that is out of order.
        seen, known = set[bytes](), 0
        for element in elements:
            kind, name, at, stop = element
            slot = slots.get(name) or self.unnamed(name)
            if slot is None:
                plain = False
                note = Note(b.join(self.path, name), "unmapped", Effect.UNNAMED, self.path)
                pieces.append(doc.keep(element, self.path, self.depth, note))
                continue
            if slot.order > last:
                last = slot.order
            else:
                plain = False
                seen.update(earlier[1] for earlier in elements[known : len(pieces)])
                known = len(pieces)
                if name in seen:
                    pieces.append(doc.keep(element, self.path, self.depth, slot.note("duplicate")))
                    continue
                doc.notes.append(slot.note("order"))
            required += slot.required
            if kind == slot.kind:
                value = slot.program.read(raw, at, stop)  # type: ignore[union-attr] # set where kind is
                if value is not None:
                    row[slot.index] = value
                    pieces.append(None)
                    continue
            piece = slot.take(doc, element, row)
            if piece is not None:
                plain = False
            pieces.append(piece)
        if required != self.required:
            plain = False
            self._note_missing(doc, elements)
        return None if plain else [(element[1], piece) for element, piece in zip(elements, pieces, strict=True)]

    def unnamed(self, name: bytes) -> Slot | None:
        """The slot of a field that the plan does not name."""
        del name
        return None

    def _note_missing(self, doc: Document, elements: list[b.Element]) -> None:
        present = {element[1] for element in elements}
        doc.notes += [slot.note("missing") for slot in self.order if slot.required and slot.name not in present]

    def give(self, row: Row) -> bytes:
        """The document that a row without residue stands for."""
        return document([slot.give(row) for slot in self.order])

    def restore(self, row: Row, residue: Residue, place: tuple[int, int]) -> bytes:
        """The document that a row and its residue stand for."""
        return self.restore_with(row, residue, place, self.order)

    def restore_with(self, row: Row, residue: Residue, place: tuple[int, int], order: Sequence[Slot]) -> bytes:
        """`restore`, where `order` are all the slots that may have something to give."""
        parts: list[bytes] = []
        seen: set[bytes] = set()
        gone: set[bytes] = set()
        for name, kind, inner in residue.fields(place):
            named = self.slots.get(name) or self.unnamed(name)
            marked = residue.is_marker(kind)
            if named is None:
                parts.append(_whole(name, residue.kept(kind, inner)))
            elif name in seen:  # a repeated field goes when the row has nothing where it used to have the first one
                if name not in gone:
                    parts.append(_whole(name, residue.kept(kind, inner)))
            else:
                seen.add(name)
                parts.append(self._given(named, row, residue, None if marked else kind, inner))
                if not parts[-1]:
                    gone.add(name)
        # Fields that were missing: only what has come into the row since then.
        parts += [slot.give(row) for slot in order if slot.name not in seen and not slot.blank(row)]
        return document(parts)

    def _given(self, slot: Slot, row: Row, residue: Residue, kind: int | None, place: tuple[int, int]) -> bytes:
        """The first field of a slot's name; `kind` is None where the template has a marker."""
        if kind is None:
            return slot.give(row)
        if not isinstance(slot, Branch) or kind != b.DOCUMENT:
            return slot.restore(row, residue.kept(kind, place))
        body = slot.node.restore(row, residue, place)
        # A subdocument of which nothing is left has gone with its last field; one that was empty is still there.
        emptied = len(body) == _EMPTY_SIZE and place[1] - place[0] > _EMPTY_SIZE
        return b"" if emptied else slot.element(b.DOCUMENT, body)


def _whole(name: bytes, kept: Kept) -> bytes:
    return bytes((kept.kind,)) + name + b"\0" + kept.value


def _own_rows(node: Node) -> list[Slot]:
    """The child tables of a node's row, those in subdocuments too."""
    found: list[Slot] = []
    for slot in node.order:
        if isinstance(slot, Rows):
            found.append(slot)
        elif isinstance(slot, Branch):
            found += _own_rows(slot.node)
    return found
