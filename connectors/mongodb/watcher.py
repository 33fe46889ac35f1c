"""Watching streams: one change stream on the database, payloads projected away, as changed keys.

Why the order of things here is safe: a position is the token of what has been handed out, never of what the driver has
fetched; and what is handed out names keys only, so seeing an event twice, or late, does no harm.
"""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bson.raw_bson import RawBSONDocument
from bson.timestamp import Timestamp
from pymongo.change_stream import ChangeStream
from pymongo.client_session import ClientSession
from pymongo.errors import OperationFailure

from tranship.connectors.errors import ConnectorError, RefusedError, SourceChangedError
from tranship.connectors.keycodec import encode
from tranship.connectors.mongodb import bsonwalk, oplog
from tranship.connectors.mongodb.connection import RAW, MongoConnection, make_position, position_time, position_token
from tranship.connectors.mongodb.errors import NOT_ANSWERED, translated
from tranship.connectors.protocols import Changes, Key, Position, Watch
from tranship.connectors.watches import GeneratedWatch
from tranship.plans.rules import MARKER_COLLECTION as MARKERS
from tranship.plans.streams import Stream

KEYS_PER_CHANGES = 1000
GATHER_S = 0.2
"""How long changes are gathered once one has come, unless a marker is among them: fewer and larger batches spare a slow
source."""
IDLE_S = 1.0
_AWAIT_MS = 100
_EVENTS_PER_REPLY = 100
"""The server looks through its history until it has so many before it answers: with few, a position comes sooner."""

_NAMESPACE_NOT_FOUND = 26

_WRITES = frozenset({"insert", "update", "replace", "delete"})
_HARMLESS = frozenset({"create", "createIndexes", "dropIndexes"})
"""Events that change no document. Any other kind, also one that is not known yet, stops the run: `rules.md` B7."""

_VALIDATION = frozenset({b"validator", b"validationLevel", b"validationAction"})
"""What a `modify` may have changed: no document is another one by it. A fence may have done so, ours as well."""

_WANTED = ("operationType", "ns", "to", "documentKey", "clusterTime", "operationDescription")


@dataclass
class _Gathered:
    """What has come since the last yield."""

    keys: dict[tuple[str, Key], None] = field(default_factory=dict)  # ordered and without duplicates
    markers: list[str] = field(default_factory=list)
    newest: int = 0
    """Cluster time of the last event in seconds; 0 when the stream had no more events."""
    events: int = 0

    def changes(self, position: Position) -> Changes:
        # Both times are cut to seconds, so it is behind by more than their difference less one.
        behind = position_time(position).time - self.newest - 1 if self.newest else 0
        return Changes(tuple(self.keys), position, tuple(self.markers), max(0, behind))


class MongoWatcher(MongoConnection):
    """`ChangeSource`."""

    def position(self) -> Position:
        """Now: the token that a new change stream starts with. Raises `ConnectorError` if the server gives none."""
        with (
            translated("opening a change stream"),
            self._client.start_session() as session,
            self._watch([], session) as stream,
        ):
            # The stream starts behind the last write that the primary has applied, but tells the time up to which a
            # majority has. A read after that time could miss a write that the stream leaves out; so the time is taken
            # from a reply that names the last write applied.
            self._client.admin.command("ping", session=session)
            return _position(stream, session)

    def changes(self, streams: Sequence[Stream], since: Position) -> Watch:
        """Changed keys since a position, without end; see `ChangeSource`. The server keeps its history by itself."""
        return GeneratedWatch(lambda closed: self._open(streams, since, closed))

    def _open(self, streams: Sequence[Stream], since: Position, closed: threading.Event) -> Iterator[Changes]:
        watched: dict[str, list[str]] = {}
        for stream in streams:
            watched.setdefault(stream.collection, []).append(stream.name)
        token = position_token(since)
        with (
            translated("reading the change stream"),
            self._session(since) as session,  # its time never goes back behind that of the position
            self._watch(sorted(watched), session, resume_after=token) as events,
        ):
            yield from self._follow(events, session, watched, closed)

    def history_s(self, since: Position) -> float | None:
        """By the oldest entry of the oplog, which the role `clusterMonitor` does not show, but `read` on `local`."""
        oplog = self._client.get_database("local", codec_options=RAW)["oplog.rs"]
        with translated("reading the oldest entry of the oplog"):
            try:
                oldest = oplog.find_one({}, {"ts": 1}, sort=[("$natural", 1)])
            except OperationFailure as error:
                if error.code not in NOT_ANSWERED:
                    raise
                return None
        time_ = oldest.get("ts") if oldest else None
        return float(position_time(since).time - time_.time) if isinstance(time_, Timestamp) else None

    def keeps_s(self, since: Position) -> float | None:
        """By what of the oplog's room is filled."""
        age = self.history_s(since)
        with translated("asking how large the oplog is"):
            try:
                stats = self._client.get_database("local").command("collStats", "oplog.rs")
            except OperationFailure as error:
                if error.code not in NOT_ANSWERED | {_NAMESPACE_NOT_FOUND}:
                    raise
                return None
        return oplog.keeps_s(age, stats) if age is not None else None

    def _watch(
        self, collections: Sequence[str], session: ClientSession, **options: Any
    ) -> ChangeStream[RawBSONDocument]:
        names = [*collections, MARKERS]
        match: dict[str, Any] = {
            "$or": [
                {"ns.coll": {"$in": names}},
                {"to.coll": {"$in": names}},
                {"operationType": {"$in": ["invalidate", "dropDatabase"]}},
            ]
        }
        pipeline: list[dict[str, Any]] = [{"$match": match}, {"$project": {"_id": 1, **dict.fromkeys(_WANTED, 1)}}]
        return self._database.with_options(codec_options=RAW).watch(
            pipeline,
            session=session,
            max_await_time_ms=_AWAIT_MS,
            batch_size=_EVENTS_PER_REPLY,
            show_expanded_events=True,
            **options,
        )

    def _follow(
        self,
        stream: ChangeStream[RawBSONDocument],
        session: ClientSession,
        watched: Mapping[str, Sequence[str]],
        closed: threading.Event,
    ) -> Iterator[Changes]:
        while not closed.is_set():
            gathered = _Gathered()
            deadline = time.monotonic() + IDLE_S
            while len(gathered.keys) < KEYS_PER_CHANGES and time.monotonic() < deadline and not closed.is_set():
                event = stream.try_next()
                if event is None:
                    gathered.newest = 0
                    if gathered.events:
                        break
                    if not stream.alive:
                        raise SourceChangedError("the server ended the change stream")
                    continue
                if not gathered.events:
                    deadline = min(deadline, time.monotonic() + GATHER_S)
                gathered.events += 1
                _gather(bytes(event.raw), watched, gathered)
                if gathered.markers:
                    break  # somebody waits for it
            # All that the driver has handed out is in `gathered`, so its token covers just that, and at the end of the
            # driver's buffer also the time in which nothing happened.
            yield gathered.changes(_position(stream, session))


def _gather(raw: bytes, watched: Mapping[str, Sequence[str]], gathered: _Gathered) -> None:
    """Add what an event says. Raises `SourceChangedError` for one that is more than a write."""
    event = {name: (kind, start, end) for kind, name, start, end in bsonwalk.split(raw, 0, len(raw))}
    operation = _text(raw, event[b"operationType"])
    collection = _collection(raw, event.get(b"ns"))
    target = _collection(raw, event.get(b"to"))
    gathered.newest = _uint32(raw, event[b"clusterTime"][1] + 4)[0]
    if operation in _WRITES:
        kind, value = _key_value(raw, event[b"documentKey"])
        if collection in watched:
            key = encode(kind, value)
            gathered.keys.update(dict.fromkeys((name, key) for name in watched[collection]))
        elif collection == MARKERS and operation != "delete" and kind == bsonwalk.STRING:
            gathered.markers.append(value[4:-1].decode())
    elif operation == "modify" and _is_validation(raw, event.get(b"operationDescription")):
        return
    elif operation not in _HARMLESS and not (collection == MARKERS and target not in watched):
        where = " and ".join(name for name in (collection, target) if name) or "the database"
        raise SourceChangedError(
            f"the source was changed by more than writes: event {operation} of {where}; what was copied is no longer "
            "the whole of it, so the run cannot go on"
        )


def _is_validation(raw: bytes, description: _Place | None) -> bool:
    if description is None or description[0] != bsonwalk.DOCUMENT:
        return False
    names = {name for _, name, _, _ in bsonwalk.split(raw, description[1], description[2])}
    return bool(names) and names <= _VALIDATION


_Place = tuple[int, int, int]
"""Type byte, start and end of a value in an event."""


def _text(raw: bytes, place: _Place) -> str:
    return raw[place[1] + 4 : place[2] - 1].decode()


def _collection(raw: bytes, namespace: _Place | None) -> str:
    """The collection of a namespace; empty when the event names none."""
    if namespace is None or namespace[0] != bsonwalk.DOCUMENT:
        return ""
    for kind, name, start, end in bsonwalk.split(raw, namespace[1], namespace[2]):
        if name == b"coll":
            return _text(raw, (kind, start, end))
    return ""


def _key_value(raw: bytes, document_key: _Place) -> tuple[int, bytes]:
    for kind, name, start, end in bsonwalk.split(raw, document_key[1], document_key[2]):
        if name == b"_id":
            return kind, raw[start:end]
    raise ConnectorError("an event of the change stream names no _id")


_uint32 = struct.Struct("<I").unpack_from


def _position(stream: ChangeStream[RawBSONDocument], session: ClientSession) -> Position:
    token, time_ = stream.resume_token, session.operation_time
    if token is None or time_ is None:
        raise RefusedError("the server gives no resume token or no cluster time: only a replica set can be followed")
    return make_position(token, time_)
