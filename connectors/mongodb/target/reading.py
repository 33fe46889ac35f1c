"""The rows of a MongoDB that is a target, projected from its documents by the source's own code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
from bson import Binary
from pymongo.database import Database

from tranship.connectors.batch import Batch
from tranship.connectors.mongodb.connection import MongoConnection
from tranship.connectors.mongodb.errors import translated
from tranship.connectors.mongodb.target.collection import StreamCollection
from tranship.connectors.mongodb.target.transactions import Transactions
from tranship.connectors.protocols import Key, Span
from tranship.plans.streams import Endpoint, Stream


class Connection(MongoConnection):
    """What the target needs of a connection."""

    @property
    def database(self) -> Database[dict[str, Any]]:
        return self._database

    def collection(self, stream: Stream) -> StreamCollection:
        return StreamCollection(self._database, self._mapper(stream))

    def end_sessions(self, sessions: Sequence[Binary]) -> None:
        """Abort what these sessions of our user have open."""
        with translated("ending the sessions of an earlier epoch"):
            self._client.admin.command("killSessions", [{"id": session} for session in sessions])

    def transactions(self) -> Transactions:
        return Transactions(lambda: self._client)


class MongoRows:
    """The reading half of `MarkedTarget`."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._connection = Connection(endpoint)

    def read(self, stream: Stream, span: Span) -> Iterator[Batch]:
        with translated(f"reading {stream.collection}"):
            for batch in self._connection.collection(stream).read(span):
                if batch.rows.num_rows:
                    yield batch

    def read_keys(self, stream: Stream, keys: Sequence[Key]) -> Batch:
        found = self._connection.collection(stream)
        with translated(f"reading keys of {stream.collection}"):
            return found.batch(list(found.found(keys).values()))

    def with_residue(self, stream: Stream, keys: Sequence[Key]) -> pa.RecordBatch:
        return _noted(self.read_keys(stream, keys))

    def some_with_residue(self, stream: Stream, limit: int) -> pa.RecordBatch:
        found = [_noted(self.read_keys(stream, []))]
        for batch in self.read(stream, Span(None, None)):
            found.append(_noted(batch))
            if sum(rows.num_rows for rows in found) >= limit:
                break
        return pa.concat_batches(found).slice(0, limit)


def _noted(batch: Batch) -> pa.RecordBatch:
    """The rows that have residue, which are those with notes."""
    return batch.rows.filter(pa.array([key in batch.notes for key in batch.keys], type=pa.bool_()))
