"""What a batch changes in a collection: documents rebuilt from rows, beside those that are there.

Rows say what a stream's documents are, and nothing about others:

| the document | the row | becomes |
|---|---|---|
| of the stream | there | the rebuilt one; not written when its bytes are the same |
| of the stream | absent | deleted |
| of the stream, but kept aside by the plan | absent | left: there never was a row of it |
| not of the stream (`where`) | there | left, and its key is held |
| not of the stream | absent | left |
| absent | there | inserted |

All of a document is in its row or in the residue, so that a rebuilt one lacks nothing; its `_id` keeps the bytes that
it has in the collection (`1.0` for `1`).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from tranship.connectors.batch import KEY
from tranship.connectors.errors import RowRefusedError, UnmappableError
from tranship.connectors.keycodec import document
from tranship.connectors.mongodb import bsonwalk
from tranship.connectors.mongodb.bsonwalk import MalformedBSONError
from tranship.connectors.mongodb.mapper import Mapper
from tranship.connectors.mongodb.roots import ID, UnfitError
from tranship.connectors.protocols import Key

_UNUSABLE = (
    UnmappableError,
    MalformedBSONError,
    UnfitError,
    ValueError,
    IndexError,
    KeyError,
    AttributeError,
    struct.error,
)
"""What comes of rows that hold no document: SQL may write anything into `_residue`, too."""


@dataclass
class Rewrite:
    """What is to be written, by key."""

    deleted: list[Key] = field(default_factory=list)
    replaced: dict[Key, bytes] = field(default_factory=dict)
    inserted: dict[Key, bytes] = field(default_factory=dict)
    held: dict[Key, str] = field(default_factory=dict)

    @property
    def written(self) -> dict[Key, bytes]:
        """All documents that are to be there afterwards and were not before."""
        return self.replaced | self.inserted


def rebuilt(mapper: Mapper, rows: pa.RecordBatch) -> dict[Key, bytes]:
    """The documents of rows by key. Raises `RowRefusedError` where one has none."""
    keys: list[Key] = rows.column(KEY).to_pylist()
    try:
        return dict(zip(keys, mapper.documents(rows), strict=True))
    except _UNUSABLE:
        raise RowRefusedError(f"stream {mapper.stream.name}: a row of the batch has no document in MongoDB") from None


def why_unusable(mapper: Mapper, row: pa.RecordBatch) -> str | None:
    """Why a row has no document, without its values; None when it has one."""
    try:
        mapper.documents(row)
    except UnmappableError as error:
        return str(error)
    except _UNUSABLE:
        return "its columns and its residue make no document"
    return None


def planned(
    mapper: Mapper,
    keys: Sequence[Key],
    wanted: Mapping[Key, bytes],
    present: Mapping[Key, bytes],
    ours: Mapping[Key, bytes],
) -> Rewrite:
    """What to write so that the collection says of the keys what is wanted. `present`: documents that it has;
    `ours`: those among them that are the stream's."""
    rewrite = Rewrite()
    for key in dict.fromkeys(keys):
        there, meant = present.get(key), wanted.get(key)
        if there is None:
            if meant is not None:
                rewrite.inserted[key] = _with_id(meant, meant)
        elif key not in ours:
            if meant is not None:
                rewrite.held[key] = mapper.stream.collection
        elif meant is None:
            if not _is_aside(mapper, there):
                rewrite.deleted.append(key)
        elif (named := _with_id(meant, there)) != there:
            rewrite.replaced[key] = named
    return rewrite


def _is_aside(mapper: Mapper, raw: bytes) -> bool:
    try:
        return bool(mapper.batch([raw]).quarantined)
    except UnmappableError:  # where the policy is to stop
        return True


def _with_id(raw: bytes, other: bytes) -> bytes:
    """The document with the `_id` of another one, and that first, where the server puts it."""
    parts = [_element(other, one) for one in bsonwalk.split(other, 0, len(other)) if one[1] == ID.encode()][:1]
    seen = False
    for one in bsonwalk.split(raw, 0, len(raw)):
        if one[1] == ID.encode() and not seen:
            seen = True
            continue
        parts.append(_element(raw, one))
    return document(parts)


def _element(raw: bytes, element: bsonwalk.Element) -> bytes:
    kind, name, start, end = element
    return bytes((kind,)) + name + b"\0" + raw[start:end]
