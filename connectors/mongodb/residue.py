"""Residue: the part of a document, or of an array's element, that its row's columns do not hold, as BSON bytes.

A residue is a *template* of the document: all of its fields in their order, where a field that columns or child rows
hold exactly is only marked, and any other is there as it was. As BSON:

    {v: {_id: undefined, total: "12", address: {city: undefined, note: "x"}}, u: [3]}

The marker is BSON's `undefined`; `u`, where needed, lists which of the markers, counted from 0 in order, are values
that really are undefined. An array's element that is no document, but should be, is kept as `{e: value}`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from tranship.connectors.keycodec import document
from tranship.connectors.mongodb import bsonwalk as b


@dataclass(frozen=True)
class Kept:
    """A value as it was."""

    kind: int
    value: bytes


Piece: TypeAlias = "Kept | Template | None"
"""What a template says about one field: its value, the template of a subdocument, or None where it is only marked."""

Template: TypeAlias = list[tuple[bytes, Piece]]

_MARKER = bytes((b.UNDEFINED,))
_int32 = struct.Struct("<i")


def encode(template: Template) -> bytes:
    """The residue of a document."""
    undefined: list[int] = []
    body = _encode(template, iter(range(2**31)), undefined)
    parts = [b"\x03v\0", body]
    if undefined:
        parts += (b"\x04u\0", document([b"\x10%d\0" % n + _int32.pack(at) for n, at in enumerate(undefined)]))
    return document(parts)


def _encode(template: Template, places: Iterator[int], undefined: list[int]) -> bytes:
    parts: list[bytes] = []
    for name, piece in template:
        if piece is None:
            next(places)
            parts += (_MARKER, name, b"\0")
        elif isinstance(piece, Kept):
            if piece.kind == b.UNDEFINED:
                undefined.append(next(places))
            parts += (bytes((piece.kind,)), name, b"\0", piece.value)
        else:
            parts += (b"\x03", name, b"\0", _encode(piece, places, undefined))
    return document(parts)


def encode_value(kept: Kept) -> bytes:
    """The residue of an array's element that is no document."""
    return document([bytes((kept.kind,)), b"e\0", kept.value])


class Residue:
    """Reads a residue back. `value` is the element that is no document, else None; then `fields` gives the template.

    Which subdocuments are templates, and which were kept as they were, is known only to the layout, so it reads a
    template level by level: `fields(place)` of the root, then of the places that it takes for templates.
    """

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._undefined: frozenset[int] = frozenset()
        self._markers = 0
        self.value: Kept | None = None
        for kind, name, start, end in b.split(raw, 0, len(raw)):
            if name == b"e":
                self.value = Kept(kind, raw[start:end])
            elif name == b"v":
                self.root = (start, end)
            else:
                places = b.split(raw, start, end)
                self._undefined = frozenset(_int32.unpack_from(raw, at)[0] for _, _, at, _ in places)

    def fields(self, place: tuple[int, int]) -> Iterator[tuple[bytes, int, tuple[int, int]]]:
        """(name, type, place) of the fields of a template, in their order."""
        for kind, name, start, end in b.split(self._raw, *place):
            yield name, kind, (start, end)

    def is_marker(self, kind: int) -> bool:
        """Whether the field just read is a marker. To be asked once for each field of a template, in order."""
        if kind != b.UNDEFINED:
            return False
        self._markers += 1
        return self._markers - 1 not in self._undefined

    def kept(self, kind: int, place: tuple[int, int]) -> Kept:
        """The value of a field that is neither marker nor template."""
        return Kept(kind, self._raw[place[0] : place[1]])
