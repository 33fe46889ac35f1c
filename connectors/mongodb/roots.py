"""What only a root document has: its key, and the column that takes the fields which the plan does not name."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from tranship.connectors import keycodec
from tranship.connectors.fit import Effect, Note
from tranship.connectors.keycodec import document
from tranship.connectors.keynumbers import decimal_to_decimal128
from tranship.connectors.keys import KeyForm, TypedValue
from tranship.connectors.mongodb import bsonwalk as b
from tranship.connectors.mongodb import jsontext
from tranship.connectors.mongodb.columns import compile_column
from tranship.connectors.mongodb.fields import Document, Node, Row, Slot
from tranship.connectors.mongodb.residue import Kept, Piece, Residue, Template
from tranship.connectors.mongodb.values import NOT_JSON, REPRESENTATION, Program, Value
from tranship.plans.streams import Column, LogicalType, key_entries
from tranship.plans.targetprofile import TargetProfile

ID = "_id"

_NESTING = frozenset({b.DOCUMENT, b.ARRAY, b.CODE_WITH_SCOPE})


class UnfitError(Exception):
    """A document cannot become a row: where and why. The mapper makes a quarantine entry of it."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class KeySlot(Slot):
    """The `_id`: the canonical key at place 0 of the row, the key columns behind it.

    An `_id` that is equal to what the columns hold, but of another form (1.0 for 1), is kept in the residue.
    """

    def __init__(self, columns: Sequence[Column], composite: Node | None, target: TargetProfile) -> None:
        super().__init__(ID, ID, 0, required=True)
        self._form = KeyForm(columns)
        self._columns = tuple(columns)
        self._programs = [compile_column(column, len(column.path) - 1, target) for column in columns]
        self._composite = composite
        places = {column.path: place for place, column in enumerate(columns, 1)}
        self._bounded = [places[column.path] for column in columns if column.bounded]
        self._entries = [([places[column.path] for column in of], room) for of, room in key_entries(columns, target)]
        self._most = target.long_key_bytes
        self._canonical = columns[0].is_canonical

    def take(self, doc: Document, element: b.Element, row: Row) -> Piece:
        kind, _, start, end = element
        value = doc.raw[start:end]
        if kind in _NESTING:
            b.check(doc.raw, element, "")  # encoding trusts what it finds, however deep that goes
        key = row[0] = keycodec.encode(kind, value)
        program = self._programs[0]
        if kind == program.kind and self._composite is None and not self._canonical:
            row[1] = program.read(doc.raw, start, end)
            if row[1] is not None:
                self._check_length(row, end - start)
                return None
        if kind not in _NESTING:
            b.check(doc.raw, element, "")
        typed = self._form.decode(key)
        if typed is None:
            raise UnfitError(ID, f"{b.TYPE_NAMES[kind]} does not fit the key's columns")
        for place, (column, program, part) in enumerate(zip(self._columns, self._programs, typed, strict=True), 1):
            row[place] = _plain(column, program, part)
            if row[place] is None:
                raise UnfitError(".".join(column.path), "out of the key column's range")
        self._check_length(row, end - start)
        if self._emit(row) == (kind, value):
            return None
        return doc.keep(element, "", 0, Note(ID, REPRESENTATION, Effect.FORM, ID))

    def _check_length(self, row: Row, size: int) -> None:
        """Refuse a value that no index may be able to hold, whose row would take its whole chunk down with it."""
        if size <= self._most:
            return
        lengths = {place: _length(row[place]) for place in self._bounded}
        for place, length in lengths.items():
            if length > self._most:
                path = ".".join(self._columns[place - 1].path)
                raise UnfitError(path, f"longer than {self._most} bytes, and the key column is not `long`")
        for together, room in self._entries:
            if sum(lengths[place] for place in together) > room:
                names = ", ".join(self._columns[place - 1].name for place in together)
                raise UnfitError(ID, f"longer than {room} bytes in all, and none of these is `long`: {names}")

    def _emit(self, row: Row) -> tuple[int, bytes]:
        if self._canonical:
            return keycodec.decode(row[1])
        if self._composite is not None:
            return b.DOCUMENT, self._composite.give(row)
        return self._programs[0].emit(row[1])

    def give(self, row: Row) -> bytes:
        return self.element(*self._emit(row))

    def restore(self, row: Row, kept: Kept) -> bytes:
        if keycodec.encode(kept.kind, kept.value) == keycodec.encode(*self._emit(row)):
            return self.element(kept.kind, kept.value)
        return self.give(row)

    def blank(self, row: Row) -> bool:
        return row[1] is None


def _length(value: Value) -> int:
    return len(value.encode() if isinstance(value, str) else value)


def _plain(column: Column, program: Program, value: TypedValue) -> Value:
    """The row's form of a key column's value; None when the column cannot hold it."""
    if isinstance(value, Decimal):
        try:
            raw = decimal_to_decimal128(value)
        except ValueError:
            return None
        return program.judge(b.DECIMAL128, raw, 0, len(raw))[0]
    if column.type in (LogicalType.TIMESTAMP, LogicalType.DATE):
        _, raw = program.emit(value)
        return program.read(raw, 0, len(raw))
    return value


class RestSlot(Slot):
    """A field that the plan does not name, as a member of the rest column's object.

    While a document is taken or given, the rest column's place in the row holds its members by key.
    """

    def __init__(self, name: str, index: int) -> None:
        super().__init__(name, name, 0, required=False)
        self._place = index
        self.key = "$" + name if name.startswith("$") else name

    def take(self, doc: Document, element: b.Element, row: Row) -> Piece:
        kind, _, start, end = element
        b.check_name(element[1], "")
        text, exact = jsontext.write(kind, doc.raw, start, end)
        if text is not None:
            row[self._place][self.key] = text
        if exact:
            return None
        return doc.keep(element, "", 0, Note(self.path, NOT_JSON, Effect.MISFIT if text is None else Effect.FORM, ""))

    def note(self, reason: str) -> Note:
        return Note(self.path, reason, Effect.SHAPE, "")

    def give(self, row: Row) -> bytes:
        return b"" if self.blank(row) else self.element(*jsontext.from_tree(row[self._place][self.key]))

    def restore(self, row: Row, kept: Kept) -> bytes:
        text, _ = jsontext.write(kept.kind, kept.value, 0, len(kept.value))
        if self.blank(row):
            same = text is None
        else:
            same = text is not None and jsontext.read(text) == jsontext.from_tree(row[self._place][self.key])
        return self.element(kept.kind, kept.value) if same else self.give(row)

    def blank(self, row: Row) -> bool:
        return self.key not in row[self._place]


class RestNode(Node):
    """A root whose unnamed fields go to the column at `index`, behind the named ones, in jsonb's order."""

    def __init__(self, slots: Sequence[Slot], width: int, index: int) -> None:
        super().__init__(slots, "", 0, width)
        self._index = index

    def unnamed(self, name: bytes) -> Slot | None:
        try:
            slot = RestSlot(name.decode(), self._index)
        except UnicodeDecodeError:
            return None  # keeping the field reports it as malformed
        # As a number, a leading 1 and the key's bytes sort like jsonb's keys: by length, then by bytes.
        slot.order = len(self.order) + int.from_bytes(b"\1" + slot.key.encode())
        return slot

    def take(self, doc: Document, start: int, end: int, row: Row) -> Template | None:
        members: dict[str, str] = {}
        row[self._index] = members
        template = super().take(doc, start, end, row)
        texts = [f"{jsontext.quoted(key.encode())}: {members[key]}" for key in sorted(members, key=_jsonb_order)]
        row[self._index] = "{" + ", ".join(texts) + "}" if texts else None
        return template

    def give(self, row: Row) -> bytes:
        row, names = self._opened(row)
        return document([slot.give(row) for slot in self._all(names)])

    def restore(self, row: Row, residue: Residue, place: tuple[int, int]) -> bytes:
        row, names = self._opened(row)
        return super().restore_with(row, residue, place, self._all(names))

    def _opened(self, row: Row) -> tuple[Row, list[bytes]]:
        """The row with the rest column's members by key, and their fields' names."""
        tree = jsontext.parse(row[self._index] or "{}")
        if not isinstance(tree, jsontext.Fields):
            raise UnfitError("", "the rest column does not hold an object")
        row = row.copy()
        row[self._index] = dict(tree)
        return row, [jsontext.field_name(key).encode() for key, _ in tree]

    def _all(self, names: Sequence[bytes]) -> list[Slot]:
        unnamed = [self.unnamed(name) for name in names if name not in self.slots]
        return [*self.order, *(slot for slot in unnamed if slot is not None)]


def _jsonb_order(key: str) -> tuple[int, bytes]:
    raw = key.encode()
    return len(raw), raw
