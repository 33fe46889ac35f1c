"""The MongoDB source: reading and watching together, its identity, and what preflight finds. Nothing is changed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pymongo.collection import Collection
from pymongo.errors import ExecutionTimeout, NetworkTimeout

from tranship.connectors import clocks
from tranship.connectors.errors import ConnectorError, RefusedError, TransientError
from tranship.connectors.fit import Notes
from tranship.connectors.mongodb import indexkinds, kinds
from tranship.connectors.mongodb.connection import RAW
from tranship.connectors.mongodb.errors import translated
from tranship.connectors.mongodb.filters import where as where_of
from tranship.connectors.mongodb.order import usual_order
from tranship.connectors.mongodb.projection import PROJECTION
from tranship.connectors.mongodb.reader import BY_ID, MongoReader, documents_of
from tranship.connectors.mongodb.sampling import DECODED, Runs
from tranship.connectors.mongodb.traces import MongoTraces
from tranship.connectors.mongodb.watcher import MongoWatcher
from tranship.connectors.protocols import Finding
from tranship.plans.rules import OWN_COLLECTIONS
from tranship.plans.streams import Column, Stream, key_entries

if TYPE_CHECKING:
    import pyarrow as pa

    from tranship.connectors.batch import Batch

MIN_WIRE_VERSION = 17
"""MongoDB 6.0, the first that reports DDL in change streams."""

FILTER_TIME_MS = 2000
"""How long preflight lets the server look for a document that a plan's filter takes."""

_SIZE_AROUND = 15
"""Bytes of a document around its only field `_id`, a text or a binary."""

KEY_TIME_MS = 60_000
"""How long it lets the server look for an `_id` that is too long: less than the client waits for any reply."""


class MongoSource(MongoReader, MongoWatcher, MongoTraces):
    """One MongoDB database as `BatchSource` and `ChangeSource`. Used by one thread at a time."""

    projection = PROJECTION

    def collections(self, streams: Sequence[Stream]) -> dict[str, str]:
        """By UUID, which a collection keeps when it is renamed, and which one that is made anew does not have."""
        with translated("asking which collections are there"):
            infos = list(self._database.list_collections())
        uuids = {info["name"]: info.get("info", {}).get("uuid") for info in infos}
        return {s.name: uuids[s.collection].hex() for s in streams if isinstance(uuids.get(s.collection), bytes)}

    def documents(self, stream: Stream, rows: pa.RecordBatch) -> list[bytes]:
        return self._mapper(stream).documents(rows)

    def notes(self, stream: Stream, rows: pa.RecordBatch) -> Notes:
        return self._mapper(stream).notes(rows)

    def usual_order(self, stream: Stream, rows: pa.RecordBatch) -> list[str]:
        return usual_order(self._mapper(stream).documents(rows), stream.order)

    def findings(self, streams: Sequence[Stream]) -> list[Finding]:
        """Whether the server and each stream can be read and watched."""
        try:
            before = time.time()
            hello = self._hello()
            clock = _clock(hello, before, time.time())
            found = _topology(hello, self._told("shardingState", "asking whether the source is a shard"))
            if any(finding.severity == "error" for finding in found):
                return found
            self.identity()  # which a run asks for before all else
            found += self._cluster_findings()
            for stream in streams:
                found += [replace(finding, stream=stream.name) for finding in self._stream_findings(stream)]
            return found + clock + self._watch_findings() + self._trace_findings()
        except (RefusedError, TransientError) as error:
            return [Finding("source.unusable", "error", str(error), "check the URI, the server and the user's roles")]

    def some(self, stream: Stream, documents: int, seed: int) -> Iterator[Batch]:
        mapper = self._mapper(stream)
        with translated(f"reading {stream.collection}"):
            collection = self._database.get_collection(stream.collection, codec_options=DECODED)
            for block in Runs(collection, documents, seed, where_of(stream)):
                if found := documents_of(block):
                    yield mapper.batch(found)

    def _stream_findings(self, stream: Stream) -> list[Finding]:
        where = f"stream {stream.name}: collection {self._database.name}.{stream.collection}"
        if stream.collection in OWN_COLLECTIONS:
            return [Finding("source.markers", "error", f"{where} is kept for tranship", "copy another collection")]
        with translated(f"reading the options of {stream.collection} (`listCollections`)"):
            infos = list(self._database.list_collections(filter={"name": stream.collection}))
        if not infos:
            return [kinds.missing(where)]
        found = kinds.findings(where, infos[0])
        if found:
            return found
        try:
            with translated(f"reading {stream.collection} (`find`)"):
                self._try_filter(stream)
            with translated(f"reading the indexes of {stream.collection} (`listIndexes`)"):
                indexes = list(self._database[stream.collection].list_indexes())
            self.estimate(stream)  # only whether it may
            told = kinds.warnings(where, infos[0], indexes) + indexkinds.findings(where, indexes)
            with translated(f"reading {stream.collection}"):
                return told + self._key_findings(stream, where)
        except ConnectorError as error:
            hint = (
                "check `where` in the plan (it is asked along the index of `_id`, so with neither $text nor $near), "
                "and that the user has the role `read` on the database"
            )
            return [Finding("source.unreadable", "error", str(error), hint)]

    def _key_findings(self, stream: Stream, where: str) -> list[Finding]:
        """Whether there are `_id`s too long for the key's columns: decided before the load, by what is there."""
        bounded = [column for column in stream.key if column.bounded]
        if not bounded:
            return []
        most, entries = stream.target.long_key_bytes, key_entries(stream.key, stream.target)
        together = {f"entry{number}": {"$add": _sizes(columns)} for number, (columns, _) in enumerate(entries)}
        too_long = [{"longest": {"$gt": most + _SIZE_AROUND}}] + [
            {name: {"$gt": room + _SIZE_AROUND * len(columns)}}
            for name, (columns, room) in zip(together, entries, strict=True)
        ]
        # Measured by a projection, which the index alone can answer; a condition ($expr) would fetch every document.
        condition = where_of(stream)
        pipeline: list[Mapping[str, Any]] = [
            *([{"$match": condition}] if condition else []),
            {"$project": {"_id": 0, "longest": {"$max": _sizes(bounded)}, **together}},
            {"$match": {"$or": too_long}},
            {"$limit": 1},
        ]
        try:
            with self._raw(stream).aggregate(pipeline, hint=dict(BY_ID), maxTimeMS=KEY_TIME_MS) as cursor:
                found = next(cursor, None)
        except (ExecutionTimeout, NetworkTimeout):
            message = f"{where}: whether an _id is too long for PostgreSQL's indexes was not found out in time"
            hint = f"such a document would be quarantined; `long: true` on key column {bounded[0].name} takes it"
            return [Finding("source.long_keys", "warning", message, hint)]
        if found is None:
            return []
        in_all = "".join(
            f", or than {room} bytes in all in {', '.join(column.name for column in columns)}"
            for columns, room in entries
            if len(columns) > 1 or room < most
        )
        message = (
            f"{where} has an _id with a part longer than {most} bytes{in_all}, which PostgreSQL's indexes may not hold"
        )
        hint = f"write `long: true` on key column {bounded[0].name}: then its SHA-256 is the primary key"
        return [Finding("source.long_keys", "error", message, hint)]

    def _try_filter(self, stream: Stream) -> None:
        """Have the server look for a document as the run will; that it does not find one soon is no matter."""
        with suppress(ExecutionTimeout):
            self._raw(stream).find_one(where_of(stream), {"_id": 1}, hint=BY_ID, sort=BY_ID, max_time_ms=FILTER_TIME_MS)

    def _raw(self, stream: Stream) -> Collection[Any]:
        """The stream's collection, whose documents are not decoded: an `_id` may be more than a decoder can hold."""
        return self._database.get_collection(stream.collection, codec_options=RAW)

    def _cluster_findings(self) -> list[Finding]:
        """What of the cluster the user may not ask; a run can do without."""
        missing = [command for command in ("replSetGetConfig", "shardingState") if command in self._not_told]
        if not missing:
            return []
        message = (
            f"the user may not {', '.join(missing)} on the cluster: without `replSetGetConfig` the "
            "replica set is known by its name only, without `shardingState` a shard is not told from a replica set"
        )
        hint = "grant both (the role `clusterMonitor` has them), before a run begins and not during one"
        return [Finding("source.cluster_unknown", "info", message, hint)]

    def _watch_findings(self) -> list[Finding]:
        try:
            self.position()
        except ConnectorError as error:
            hint = (
                "the user needs the privileges `find` and `changeStream` on the database (role `read`), and the server "
                "the featureCompatibilityVersion of its own version, 6.0 or later"
            )
            return [Finding("source.unwatchable", "error", str(error), hint)]
        return []


def _clock(hello: Mapping[str, Any], before: float, after: float) -> list[Finding]:
    told = hello.get("localTime")
    if not isinstance(told, datetime):
        return []
    seconds = told.replace(tzinfo=told.tzinfo or UTC).timestamp()
    return clocks.finding("source.clock", "source", seconds, before, after)


def _topology(hello: Mapping[str, Any], sharding: Mapping[str, Any]) -> list[Finding]:
    """Whether this is the primary of a replica set that is new enough and no shard."""
    if hello.get("msg") == "isdbgrid":
        message = "the source is a sharded cluster (mongos), which is not supported yet"
        return [Finding("source.sharded", "error", message, "a migration must start from a replica set")]
    if sharding.get("enabled"):  # documents that move between shards are in no change stream, and orphans in a scan
        message = "the source is one shard of a sharded cluster, which shows neither all documents nor all changes"
        return [Finding("source.sharded", "error", message, "a migration must start from a replica set of its own")]
    if "setName" not in hello:
        return [
            Finding(
                "source.standalone",
                "error",
                "the source is a standalone server, which cannot be followed: it has no change streams",
                "restart mongod with --replSet and run rs.initiate(); one member is enough",
            )
        ]
    found: list[Finding] = []
    if not hello.get("isWritablePrimary"):
        hint = "connect to the replica set (without directConnection), or to its primary"
        found.append(Finding("source.secondary", "error", "the source's server is not the primary", hint))
    if hello.get("maxWireVersion", 0) < MIN_WIRE_VERSION:
        message = "the source is older than MongoDB 6.0, which does not report drops and renames to a change stream"
        found.append(Finding("source.version", "error", message, "upgrade the source to MongoDB 6.0 or later"))
    return found


def _sizes(columns: Sequence[Column]) -> list[Mapping[str, Any]]:
    """The lengths of key values, each with `_SIZE_AROUND` bytes more."""
    return [{"$bsonSize": {"_id": "$" + ".".join(column.path)}} for column in columns]
