"""Profiling: which collections there are, and what their documents look like. Nothing is changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import bson

from tranship.connectors.errors import ConnectorError
from tranship.connectors.mongodb import kinds
from tranship.connectors.mongodb.errors import translated
from tranship.connectors.mongodb.filters import in_span
from tranship.connectors.mongodb.partials import UnclearError, asked
from tranship.connectors.mongodb.reader import BY_ID, DOCUMENTS_PER_BATCH, MongoReader, documents_of
from tranship.connectors.mongodb.sampling import DECODED, Runs
from tranship.connectors.mongodb.shapes import count_documents
from tranship.connectors.mongodb.validators import declared
from tranship.connectors.profile import Asked, CollectionProfile, Documents, IndexSeen, Part
from tranship.connectors.protocols import Span
from tranship.plans.rules import OWN_COLLECTIONS
from tranship.plans.streams import Stream

_SLICE_BYTES = 1 << 20
"""So much is decoded at once: decoded documents take several times as much."""

_KNOWN_OPTIONS = {"v", "key", "name", "ns", "unique", "sparse", "expireAfterSeconds", "partialFilterExpression"}
_HARMLESS_OPTIONS = {"background", "textIndexVersion", "2dsphereIndexVersion", "default_language", "dropDups"}


class MongoProfiler(MongoReader):
    """`Profiler` of one MongoDB database. Used by one thread at a time."""

    def survey(self) -> list[CollectionProfile]:
        """All collections but MongoDB's and our own, unread, by name, each with its indexes, size, and what keeps it
        from being moved. Raises `RefusedError` where they may not be listed."""
        with translated("asking which collections are there"):
            infos = list(self._database.list_collections())
        wanted = [i for i in infos if not i["name"].startswith("system.") and i["name"] not in OWN_COLLECTIONS]
        return [self._surveyed(info) for info in sorted(wanted, key=lambda info: str(info["name"]))]

    def _surveyed(self, info: Mapping[str, Any]) -> CollectionProfile:
        name = info["name"]
        found = CollectionProfile(name)
        against = kinds.findings("it", info)
        if against:
            found.left_out = "; ".join(finding.message.removeprefix("it ") for finding in against)
            return found
        try:
            found.documents, found.size = self.estimate(whole(name))
            found.indexes, found.notes = self._indexes(name, info)
            found.declared = declared(info.get("options", {}))
        except ConnectorError as error:
            found.left_out = str(error)
        return found

    def _indexes(self, name: str, info: Mapping[str, Any]) -> tuple[tuple[IndexSeen, ...], tuple[str, ...]]:
        validator = info.get("options", {}).get("validator")
        notes = ["of its validator PostgreSQL gets lists of values and descriptions only"] if validator else []
        try:
            with translated(f"reading the indexes of {name}"):
                indexes = list(self._database[name].list_indexes())
        except ConnectorError as error:
            return (), (*notes, f"its indexes could not be read ({error})")
        notes += [finding.message for finding in kinds.warnings("it", info, indexes) if finding.code != "source.ttl"]
        return tuple(_index(index) for index in indexes if list(index["key"]) != ["_id"]), tuple(notes)

    def look(self, collection: str, span: Span, split: str = "", kept: frozenset[str] = frozenset()) -> Part:
        """Read a span. `split`: the field by whose texts documents are told apart; `kept`: root fields that are told
        apart however many there are."""
        stream = whole(collection)
        with translated(f"reading {collection}"):
            cursor = self._database[collection].find_raw_batches(
                in_span(stream, span), batch_size=DOCUMENTS_PER_BATCH, hint=BY_ID, sort=BY_ID
            )
            with cursor:
                return _counted(cursor, split, kept)

    def sample(
        self, collection: str, documents: int, seed: int, split: str = "", kept: frozenset[str] = frozenset()
    ) -> Part:
        """Read about so many documents from all over the key space; the same ones for one seed on unchanged data."""
        with translated(f"reading {collection}"):
            runs = Runs(self._database.get_collection(collection, codec_options=DECODED), documents, seed)
            return _counted(runs, split, kept)

    def parts(self, collection: str, part_bytes: int) -> list[Span]:
        """Spans of about so many bytes that tile the collection."""
        return self.spans(whole(collection), part_bytes)

    def found(self, collection: str, keys: Sequence[Any]) -> int:
        """How many of these `_id`s the collection has."""
        with translated(f"looking keys up in {collection}"):
            cursor = self._database[collection].find_raw_batches({"_id": {"$in": list(keys)}}, {"_id": 1})
            return sum(len(documents_of(block)) for block in cursor)

    def values(self, collection: str, path: str, most: int) -> list[Any]:
        """So many values of a field, from the collection's first documents that have it."""
        with translated(f"reading {collection}"):
            codec = self._database.get_collection(collection, codec_options=DECODED)
            cursor = codec.find({path: {"$ne": None}}, {path: 1}, hint=BY_ID, sort=BY_ID, limit=most)
            return [_at(document, path.split(".")) for document in cursor]


def whole(collection: str) -> Stream:
    """The whole collection as a stream, for reading it."""
    return Stream(collection, collection, collection, (), (), (), ())


def _at(document: Any, steps: list[str]) -> Any:
    for step in steps:
        document = document.get(step) if isinstance(document, dict) else None
    return document


def _index(index: Mapping[str, Any]) -> IndexSeen:
    fields = tuple((name, _direction(way)) for name, way in index["key"].items())
    other = set(index) - _KNOWN_OPTIONS - _HARMLESS_OPTIONS
    if index.get("collation", {}).get("locale", "simple") == "simple":
        other.discard("collation")
    partial, unclear = _partial(index.get("partialFilterExpression", {}))
    return IndexSeen(
        str(index["name"]),
        fields,
        bool(index.get("unique")),
        bool(index.get("sparse")),
        index.get("expireAfterSeconds"),
        partial,
        unclear,
        tuple(sorted(other)),
    )


def _partial(expression: Mapping[str, Any]) -> tuple[tuple[Asked, ...], str]:
    try:
        return tuple(asked(expression)), ""
    except UnclearError as error:
        return (), str(error)


def _direction(way: Any) -> int | str:
    return str(way) if isinstance(way, str) else 1 if way > 0 else -1


# --- blocks of documents to figures -----------------------------------------------------------------------------------


def _counted(blocks: Iterable[Any], split: str, kept: frozenset[str]) -> Part:
    part = Part(split=split)
    for block in blocks:
        for documents, unread in _decoded(block):
            part.read += len(documents) + unread
            part.unread += unread
            for value, some in _told_apart(documents, split).items():
                if value not in part.roots:
                    part.roots[value] = Documents(kept=kept)
                count_documents(part.roots[value], some)
    return part


def _told_apart(documents: list[dict[str, Any]], split: str) -> dict[str | None, list[dict[str, Any]]]:
    if not split:
        return {None: documents} if documents else {}
    found: dict[str | None, list[dict[str, Any]]] = {}
    for document in documents:
        value = document.get(split)
        found.setdefault(value if isinstance(value, str) else None, []).append(document)
    return found


def _decoded(block: bytes) -> Iterator[tuple[list[dict[str, Any]], int]]:
    """The documents of a block, a slice at a time, and how many of a slice cannot be decoded."""
    start = at = 0
    while at < len(block):
        at += int.from_bytes(block[at : at + 4], "little")
        if at - start >= _SLICE_BYTES or at >= len(block):
            yield _decode(block[start:at])
            start = at


def _decode(together: bytes) -> tuple[list[dict[str, Any]], int]:
    try:
        return bson.decode_all(together, DECODED), 0
    except (bson.errors.InvalidBSON, UnicodeDecodeError, RecursionError):
        return _decode_each(together)


def _decode_each(together: bytes) -> tuple[list[dict[str, Any]], int]:
    found: list[dict[str, Any]] = []
    raw = documents_of(together)
    for one in raw:
        with suppress(bson.errors.InvalidBSON, UnicodeDecodeError, RecursionError):
            found.append(bson.decode(one, DECODED))
    return found, len(raw) - len(found)
