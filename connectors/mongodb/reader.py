"""Reading streams: their spans, and the documents of a span or of given keys as batches."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from pymongo.client_session import ClientSession
from pymongo.errors import OperationFailure

from tranship.connectors.batch import Batch
from tranship.connectors.mongodb.connection import MongoConnection
from tranship.connectors.mongodb.errors import translated
from tranship.connectors.mongodb.filters import among, in_span
from tranship.connectors.mongodb.projection import key_of
from tranship.connectors.mongodb.readable import readable
from tranship.connectors.protocols import Key, Position, Span, is_nameless
from tranship.plans.streams import Stream

DOCUMENTS_PER_BATCH = 1000  # the server ends a batch earlier at 16 MB
KEYS_PER_QUERY = 100
SAMPLES_PER_SPAN = 20
MAX_SAMPLES = 100_000
MAX_SPANS = 20_000
"""Of a collection so large that this is not enough, spans are larger than asked for; with fewer samples for each, they
are less even."""

SCANNED_BYTES = 256 << 20
"""A collection of up to this size may be read whole for its sample."""
SAMPLED_SHARE = 21
"""Of a larger one, at most every 21st document: from a twentieth on, `$sample` reads and sorts the whole collection."""
SAMPLES_PER_REPLY = 1000  # each is read at random from disk; all in one reply could take longer than a client waits

BY_ID = [("_id", 1)]
_NAMESPACE_NOT_FOUND = 26
_size = struct.Struct("<i").unpack_from


class MongoReader(MongoConnection):
    """`BatchSource` but for identity and findings."""

    def estimate(self, stream: Stream) -> tuple[int, int]:
        """(documents, bytes) of the stream's whole collection, from its statistics."""
        with translated(f"reading the size of {stream.collection} (`collStats`)"):
            try:
                stats = self._database.command("collStats", stream.collection)
            except OperationFailure as error:
                if error.code == _NAMESPACE_NOT_FOUND:
                    return 0, 0
                raise
        return int(stats.get("count", 0)), int(stats.get("size", 0))

    def spans(self, stream: Stream, chunk_bytes: int) -> list[Span]:
        """Spans of about `chunk_bytes` each, from a sample of the `_id`s; one open span for a small collection."""
        documents, size = self.estimate(stream)
        wanted = min(-(-size // chunk_bytes), MAX_SPANS)
        if wanted < 2:
            return [Span(None, None)]
        keys = self._sample(stream, sample_size(wanted, documents, size))
        bounds = sorted({keys[place * len(keys) // wanted] for place in range(1, wanted)} if keys else ())
        return [Span(lower, upper) for lower, upper in pairwise([None, *bounds, None])]

    def _sample(self, stream: Stream, count: int) -> list[Key]:
        """Keys of about `count` random documents, in order, without duplicates."""
        pipeline = [{"$sample": {"size": count}}, {"$project": {"_id": 1}}]
        with translated(f"sampling {stream.collection}"):
            cursor = self._database[stream.collection].aggregate_raw_batches(
                pipeline, allowDiskUse=True, batchSize=SAMPLES_PER_REPLY
            )
            found = {key_of(document) for block in cursor for document in documents_of(block)}
        return sorted(key for key in found if not is_nameless(key))

    def read(self, stream: Stream, span: Span, after: Position) -> Iterator[Batch]:
        """The documents of a span in key order, as of `after` or later."""
        mapper = self._mapper(stream)
        with translated(f"reading {stream.collection}"), self._session(after) as session:
            for documents in self._scan(stream, span, session):
                yield mapper.batch(documents)

    def _scan(self, stream: Stream, span: Span, session: ClientSession) -> Iterator[list[bytes]]:
        cursor = self._database[stream.collection].find_raw_batches(
            in_span(stream, span), session=session, batch_size=DOCUMENTS_PER_BATCH, hint=BY_ID, sort=BY_ID
        )
        with cursor:
            for block in cursor:
                yield documents_of(block)

    def read_keys(self, stream: Stream, keys: Sequence[Key], after: Position) -> Batch:
        """The documents of the given keys that are there, as of `after` or later, in key order."""
        mapper = self._mapper(stream)
        known = sorted(key for key in set(keys) if not is_nameless(key))
        found: list[bytes] = []
        with translated(f"reading keys of {stream.collection}"), self._session(after) as session:
            for start in range(0, len(known), KEYS_PER_QUERY):
                condition = among(stream, known[start : start + KEYS_PER_QUERY])
                for block in self._database[stream.collection].find_raw_batches(condition, session=session):
                    found += documents_of(block)
        return mapper.batch(sorted(found, key=key_of))

    def readable(self, document: bytes) -> str:
        """A document as canonical Extended JSON, or what is wrong with it and its bytes there."""
        return readable(document)


def sample_size(wanted: int, documents: int, size: int) -> int:
    """How many documents to sample for about `wanted` spans; with fewer of them the spans are just less even."""
    count = min(wanted * SAMPLES_PER_SPAN, MAX_SAMPLES)
    return count if size <= SCANNED_BYTES else min(count, max(documents // SAMPLED_SHARE, 1))


def documents_of(block: Any) -> list[bytes]:
    """The documents that follow one another in a block, which is bytes, whatever the driver's types say."""
    found: list[bytes] = []
    at = 0
    while at < len(block):
        size = _size(block, at)[0]
        found.append(block[at : at + size])
        at += size
    return found
