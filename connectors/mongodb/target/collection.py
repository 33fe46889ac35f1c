"""A stream's documents in its collection: read as rows by the source's own code, and written within a transaction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from bson.raw_bson import RawBSONDocument
from pymongo import DeleteOne, InsertOne, ReplaceOne
from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import PyMongoError

from tranship.connectors.batch import Batch
from tranship.connectors.errors import RowRefusedError
from tranship.connectors.mongodb.connection import RAW
from tranship.connectors.mongodb.filters import among, in_span
from tranship.connectors.mongodb.mapper import Mapper
from tranship.connectors.mongodb.projection import key_of
from tranship.connectors.mongodb.reader import BY_ID, DOCUMENTS_PER_BATCH, KEYS_PER_QUERY, documents_of
from tranship.connectors.mongodb.target.refusals import refused_write
from tranship.connectors.mongodb.target.rewriting import Rewrite
from tranship.connectors.protocols import Key, Span, is_nameless
from tranship.plans.streams import Stream

_WHOLE = Span(None, None)
_Write = InsertOne[Any] | ReplaceOne[Any] | DeleteOne


class StreamCollection:
    """The driver's errors are left as they are, but for those of refused writes (`RefusedWriteError`)."""

    def __init__(self, database: Database[Any], mapper: Mapper) -> None:
        self.stream = mapper.stream
        self.collection: Collection[Any] = database[self.stream.collection]
        self._all = replace(self.stream, where=None)
        self.mapper = mapper

    # --- read

    def read(self, span: Span) -> Iterator[Batch]:
        """The rows of a span in key order. What would be kept aside is no row."""
        cursor = self.collection.find_raw_batches(
            in_span(self.stream, span), batch_size=DOCUMENTS_PER_BATCH, hint=BY_ID, sort=BY_ID
        )
        with cursor:
            for block in cursor:
                yield self.batch(documents_of(block))

    def batch(self, documents: Sequence[bytes]) -> Batch:
        """Documents as rows."""
        return replace(self.mapper.batch(documents), quarantined=())

    def found(self, keys: Sequence[Key], session: ClientSession | None = None) -> dict[Key, bytes]:
        """The stream's documents with these keys."""
        return self._found(self.stream, keys, session)

    def present(self, keys: Sequence[Key], session: ClientSession) -> dict[Key, bytes]:
        """The collection's, whether they are the stream's or not."""
        return self._found(self._all, keys, session)

    def _found(self, stream: Stream, keys: Sequence[Key], session: ClientSession | None) -> dict[Key, bytes]:
        known = sorted(key for key in set(keys) if not is_nameless(key))
        found: list[bytes] = []
        for start in range(0, len(known), KEYS_PER_QUERY):
            condition = among(stream, known[start : start + KEYS_PER_QUERY])
            for block in self.collection.find_raw_batches(condition, session=session):
                found += documents_of(block)
        return {key_of(raw): raw for raw in sorted(found, key=key_of)}

    # --- written

    def write(self, session: ClientSession, rewrite: Rewrite, *, anew: bool) -> None:
        """Documents that go first, then those that change, then those that come. `anew`: those that change go as well
        and come again, so that unique values pass between them in any way; else they are replaced in place."""
        gone = [*rewrite.deleted, *rewrite.replaced] if anew else rewrite.deleted
        come = rewrite.written if anew else rewrite.inserted
        writes: list[tuple[Key, _Write]] = [(key, DeleteOne(among(self.stream, [key]))) for key in gone]
        if not anew:
            writes += [
                (key, ReplaceOne(among(self.stream, [key]), RawBSONDocument(raw, RAW)))
                for key, raw in rewrite.replaced.items()
            ]
        writes += [(key, InsertOne(RawBSONDocument(raw, RAW))) for key, raw in come.items()]
        self._write(session, writes)
        self._see(session, rewrite)

    def insert(self, session: ClientSession, documents: dict[Key, bytes]) -> None:
        """Documents that are not there yet."""
        self.write(session, Rewrite(inserted=documents), anew=True)

    def empty(self, session: ClientSession, span: Span) -> None:
        """Delete the stream's documents of a span."""
        self.collection.delete_many(in_span(self.stream, span), session=session)

    def delete_some(self, session: ClientSession, limit: int) -> int:
        """Delete up to so many of the stream's documents; returns how many."""
        found: list[Key] = []
        for block in self.collection.find_raw_batches(
            in_span(self.stream, _WHOLE), {"_id": 1}, limit=limit, session=session
        ):
            found += [key_of(raw) for raw in documents_of(block)]
        for start in range(0, len(found), KEYS_PER_QUERY):
            self.collection.delete_many(among(self.stream, found[start : start + KEYS_PER_QUERY]), session=session)
        return len(found)

    def _write(self, session: ClientSession, writes: Sequence[tuple[Key, _Write]]) -> None:
        if not writes:
            return
        try:
            self.collection.bulk_write([write for _, write in writes], ordered=True, session=session)
        except PyMongoError as error:
            raise refused_write(error, [key for key, _ in writes]) from None

    def _see(self, session: ClientSession, rewrite: Rewrite) -> None:
        """That the server keeps the documents byte for byte (some change an empty timestamp, or keep one of two fields
        of a name), and that the stream has them."""
        written = rewrite.written
        kept = self.found(list(written), session) if written else {}
        if kept.keys() != written.keys():
            raise RowRefusedError(
                f"stream {self.stream.name}: by its row a document would not be the stream's any more (`where`)"
            )
        if kept != written:
            raise RowRefusedError(
                f"stream {self.stream.name}: MongoDB keeps a document with other bytes than its row's"
            )
