"""Writes that the server refuses, as errors that say which key and why, without values."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import bson
from bson.codec_options import CodecOptions, DatetimeConversion
from pymongo.collation import Collation
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError, DocumentTooLarge, PyMongoError

from tranship.connectors.errors import ConnectorError, RowRefusedError, TransientError, UniqueConflictError
from tranship.connectors.mongodb.projection import key_of
from tranship.connectors.mongodb.reader import documents_of
from tranship.connectors.mongodb.target.transactions import ConflictError
from tranship.connectors.protocols import Key
from tranship.plans.streams import Stream

Document = dict[str, Any]

_DUPLICATE = 11000
_VALIDATION = 121
_TOO_LARGE = 10334
_CONFLICTS = (112, 251)
_INDEX = re.compile(r" index: (.+?) dup key")
_PLAIN: CodecOptions[Document] = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_MS)
_OWNERS = 100


class RefusedWriteError(Exception):
    """One write of a transaction, which is lost: the server's code, its details, and the key."""

    def __init__(self, key: Key, code: int, details: Mapping[str, Any]) -> None:
        super().__init__(f"error {code}")
        self.key = key
        self.code = code
        self.details = details

    @property
    def is_duplicate(self) -> bool:
        """Whether another document holds a value that has to be unique."""
        return self.code == _DUPLICATE

    @property
    def reason(self) -> str:
        """In words, without values."""
        if self.code == _VALIDATION:
            return "the collection's validator refuses the document"
        if self.code == _TOO_LARGE:
            return "the document would be larger than MongoDB's 16 MB"
        return f"MongoDB refuses the document with error {self.code}"


def refused_write(error: PyMongoError, keys: Sequence[Key]) -> Exception:
    """What a failed bulk write of one document for each key comes to."""
    if isinstance(error, DocumentTooLarge):
        return RowRefusedError("the document would be larger than MongoDB's 16 MB")
    found = (error.details or {}).get("writeErrors", []) if isinstance(error, BulkWriteError) else []
    if not found:
        return error
    if found[0].get("code") in _CONFLICTS:
        return ConflictError()
    return RefusedWriteError(keys[found[0]["index"]], int(found[0].get("code") or 0), found[0])


def conflict(
    refused: RefusedWriteError, stream: Stream, collection: Collection[Any], batch: Mapping[Key, bytes]
) -> ConnectorError:
    """The error for a unique value that somebody holds: it names the claimants and the owners."""
    pattern: Document = dict(refused.details.get("keyPattern") or {})
    if list(pattern) == ["_id"]:
        return TransientError(f"stream {stream.name}: a document came into {stream.collection} meanwhile")
    named = _INDEX.search(str(refused.details.get("errmsg", "")))
    index = named.group(1) if named else ""
    names: dict[str, str] = {".".join(column.path): column.name for column in stream.columns}
    owners = [key for key in _owners(collection, index, refused.details) if key not in batch]
    claimants = [refused.key]
    if not owners:
        told = _values(batch[refused.key], list(pattern)) if refused.key in batch else None
        claimants = [key for key, raw in batch.items() if told is None or _values(raw, list(pattern)) == told]
    return UniqueConflictError(
        f"stream {stream.name}: other documents of {stream.collection} hold values that the index {index} keeps unique",
        stream=stream.name,
        constraint=index,
        columns=tuple(names.get(path, path) for path in pattern),
        claimants=tuple(claimants),
        owners=tuple(owners),
    )


def _owners(collection: Collection[Any], index: str, details: Mapping[str, Any]) -> list[Key]:
    """Who holds the values, as the index itself finds them."""
    options = collection.index_information().get(index)
    if options is None or not details.get("keyValue"):
        return []
    collation = Collation(**_collation(options["collation"])) if "collation" in options else None
    found = collection.find_raw_batches(dict(details["keyValue"]), hint=index, collation=collation, limit=_OWNERS)
    return [key_of(raw) for block in found for raw in documents_of(block)]


def _collation(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name != "version"}


def _values(raw: bytes, paths: Sequence[str]) -> list[Any]:
    """What a document has at these paths."""
    plain = bson.decode(raw, codec_options=_PLAIN)
    found = []
    for path in paths:
        value: Any = plain
        for name in path.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        found.append(value)
    return found
