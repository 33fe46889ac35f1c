"""The marks of a feed, as documents beside the rows that they guard.

One document for the feed (its epoch, whether it is sealed), one for each lane and each chunk that an attempt has begun,
one for each session that may have a transaction open. All but the last carry the epoch.

**Written, never only read.** A MongoDB transaction conflicts with what others write, not with what they read. So
a batch writes the marks of its lanes, a load that of its chunk, everything else the feed's; and who takes over or seals
writes all of them: a transaction that began before meets a mark that has changed, whatever its snapshot shows
(`rules.md` I1, `rules.md` I5).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

from bson import Binary, Int64
from pymongo.client_session import ClientSession
from pymongo.collection import Collection

from tranship.connectors.errors import EpochMovedError, MarkMovedError
from tranship.connectors.protocols import READING, ChunkMark, LaneMark, Scope

Document = dict[str, Any]

_WRITE = {"turn": Int64(1)}
"""What makes any update a write: one that sets what is there already is none."""


class Marks:
    """Those of all feeds in one database. Every method with a session is a part of its transaction."""

    def __init__(self, collection: Collection[Document]) -> None:
        self._marks = collection

    # --- read

    def claimed(self, scope: Scope, session: ClientSession | None = None) -> tuple[int | None, list[LaneMark]]:
        """The feed's epoch, None before the first one, and its lanes."""
        found = list(self._marks.find({**_feed(scope), "kind": {"$in": ["feed", "lane"]}}, session=session))
        epochs = [int(one["epoch"]) for one in found if one["kind"] == "feed"]
        lanes = sorted((int(one["lane"]), int(one["seq"])) for one in found if one["kind"] == "lane")
        return next(iter(epochs), None), [LaneMark(scope, lane, seq) for lane, seq in lanes]

    # --- the feed

    def claim(self, session: ClientSession, scope: Scope, known: Sequence[LaneMark]) -> list[LaneMark]:
        """Let the epoch be this one, in every mark, and no lane be behind those that are known."""
        epoch, lanes = self.claimed(scope, session)
        if scope.epoch == READING or (epoch is not None and epoch > scope.epoch):
            raise epoch_moved(scope)
        sealed = self._begin_or_write(session, scope)
        self._marks.update_many(
            {**_feed(scope), "kind": {"$in": ["lane", "chunk"]}},
            {"$set": {"epoch": Int64(scope.epoch)}, "$inc": _WRITE},
            session=session,
        )
        wanted = {mark.lane: mark.seq for mark in known}
        there = {mark.lane: mark.seq for mark in lanes}
        for lane in range(max([*wanted, *there], default=-1) + 1):
            seq = max(wanted.get(lane, 0), there.get(lane, 0))
            if lane not in there:
                made = {**_lane(scope, lane), "epoch": Int64(scope.epoch), "seq": Int64(seq), "sealed": sealed}
                self._marks.insert_one(made, session=session)
            elif seq > there[lane]:
                self._marks.update_one(
                    {"_id": _lane(scope, lane)["_id"]}, {"$set": {"seq": Int64(seq)}}, session=session
                )
        return self.claimed(scope, session)[1]

    def write(self, session: ClientSession, scope: Scope) -> None:
        """Write the feed's mark: for what swaps no other one. Raises `EpochMovedError`."""
        which = {"_id": _head(scope)["_id"], "epoch": Int64(scope.epoch)}
        if self._marks.update_one(which, {"$inc": _WRITE}, session=session).matched_count == 0:
            raise epoch_moved(scope)

    def seal(self, session: ClientSession, scope: Scope, *, sealed: bool) -> None:
        """Let no batch commit, or let them again with other marks. All marks are written, also when nothing changes."""
        self.write(session, scope)
        change: Document = {"$inc": dict(_WRITE)}
        if self._is_sealed(session, scope) != sealed:
            change = {"$inc": {**_WRITE, "seq": Int64(1)}, "$set": {"sealed": sealed}}
            self._marks.update_one({"_id": _head(scope)["_id"]}, {"$set": {"sealed": sealed}}, session=session)
        self._marks.update_many({**_feed(scope), "kind": "lane"}, change, session=session)
        self._marks.update_many({**_feed(scope), "kind": "chunk"}, {"$inc": _WRITE}, session=session)

    def forget(self, session: ClientSession, scope: Scope) -> None:
        """Delete all but the feed's own, whose epoch goes on refusing those before it."""
        self.write(session, scope)
        self._marks.update_one({"_id": _head(scope)["_id"]}, {"$set": {"sealed": False}}, session=session)
        self._marks.delete_many({**_feed(scope), "kind": {"$in": ["lane", "chunk"]}}, session=session)

    def _begin_or_write(self, session: ClientSession, scope: Scope) -> bool:
        """Write the feed's mark under this epoch, and make it if need be; whether the feed is sealed."""
        head = _head(scope)
        change = {"$set": {"epoch": Int64(scope.epoch)}, "$inc": _WRITE}
        if self._marks.update_one({"_id": head["_id"]}, change, session=session).matched_count:
            return self._is_sealed(session, scope)
        self._marks.insert_one({**head, "epoch": Int64(scope.epoch), "sealed": False}, session=session)
        return False

    def _is_sealed(self, session: ClientSession, scope: Scope) -> bool:
        found = self._marks.find_one({"_id": _head(scope)["_id"]}, session=session) or {}
        return bool(found.get("sealed"))

    # --- lanes and chunks

    def swap_lanes(self, session: ClientSession, marks: Sequence[LaneMark]) -> None:
        """`seq` → `seq + 1` of each lane. Raises `MarkMovedError`, `EpochMovedError`."""
        for mark in marks:
            which = {"_id": _lane(mark.scope, mark.lane)["_id"], "epoch": Int64(mark.scope.epoch)}
            which |= {"seq": Int64(mark.seq), "sealed": False}
            if not self._marks.update_one(which, {"$inc": {"seq": Int64(1)}}, session=session).matched_count:
                self._refuse(
                    session,
                    mark.scope,
                    f"lane {mark.lane}: batch {mark.seq} was applied already, or the lane is sealed",
                )

    def begin_attempt(self, session: ClientSession, mark: ChunkMark) -> None:
        """Let this attempt be the one that may load its chunk. Raises `MarkMovedError` when it is not the newest."""
        self.write(session, mark.scope)
        chunk = _chunk(mark)
        found = self._marks.find_one({"_id": chunk["_id"]}, session=session)
        said = {"attempt": Int64(mark.attempt), "begun": True, "epoch": Int64(mark.scope.epoch)}
        if found is None:
            self._marks.insert_one({**chunk, **said}, session=session)
        elif int(found["attempt"]) >= mark.attempt:
            raise _attempt_over(mark)
        else:
            self._marks.update_one({"_id": chunk["_id"]}, {"$set": said}, session=session)

    def end_attempt(self, session: ClientSession, mark: ChunkMark) -> None:
        """`pending(attempt)` → `loaded(attempt)`. Raises `MarkMovedError`, `EpochMovedError`."""
        which = {"_id": _chunk(mark)["_id"], "epoch": Int64(mark.scope.epoch)}
        which |= {"attempt": Int64(mark.attempt), "begun": True}
        if not self._marks.update_one(which, {"$set": {"begun": False}}, session=session).matched_count:
            self._refuse(session, mark.scope, str(_attempt_over(mark)))

    def forget_attempts(self, session: ClientSession, scope: Scope, streams: Iterable[str]) -> None:
        """No load that has begun and no batch that was taken can commit any more; numbers of attempts stay used."""
        self.write(session, scope)
        which = {**_feed(scope), "kind": "chunk", "stream": {"$in": list(streams)}}
        self._marks.update_many(which, {"$set": {"begun": False}, "$inc": _WRITE}, session=session)
        self._marks.update_many({**_feed(scope), "kind": "lane"}, {"$inc": {"seq": Int64(1)}}, session=session)

    def _refuse(self, session: ClientSession, scope: Scope, why: str) -> NoReturn:
        if self.claimed(scope, session)[0] != scope.epoch:
            raise epoch_moved(scope)
        raise MarkMovedError(why)

    # --- sessions

    def announce(self, scope: Scope, session: Binary, holds: Sequence[str]) -> None:
        """Put a session on record with the marks that it will hold, before it has a transaction. Outside of any."""
        about = {**_feed(scope), "kind": "session"}
        which = {"_id": {**_feed(scope), "session": session}}
        said = {**about, "session": session, "epoch": Int64(scope.epoch), "holds": list(holds)}
        self._marks.update_one(which, {"$set": said}, upsert=True)

    def sessions_before(self, scope: Scope) -> list[Binary]:
        """Sessions of earlier epochs."""
        which = {**_feed(scope), "kind": "session", "epoch": {"$lt": Int64(scope.epoch)}}
        return [one["session"] for one in self._marks.find(which)]

    def rivals(self, scope: Scope, session: Binary, holds: Sequence[str]) -> list[Binary]:
        """Other sessions of this epoch that hold one of the marks: earlier attempts, for a mark has one owner."""
        which = {**_feed(scope), "kind": "session", "epoch": Int64(scope.epoch)}
        which |= {"session": {"$ne": session}, "holds": {"$in": list(holds)}}
        return [one["session"] for one in self._marks.find(which)]

    def strike(self, scope: Scope, sessions: Sequence[Binary]) -> None:
        """Take sessions off the record."""
        which = {**_feed(scope), "kind": "session", "session": {"$in": list(sessions)}}
        self._marks.delete_many(which)

    # --- the end

    def remove(self, run: str) -> None:
        """Remove all marks of a run that is over, and the collection once it is empty."""
        self._marks.delete_many({"run": run})
        if self._marks.find_one() is None:
            self._marks.drop()


def lane_names(marks: Sequence[LaneMark]) -> list[str]:
    """What sessions call the marks of lanes that they hold."""
    return [f"lane {mark.lane}" for mark in marks]


def chunk_name(mark: ChunkMark) -> str:
    """And that of a chunk."""
    return f"chunk {mark.chunk} of {mark.stream}"


def _feed(scope: Scope) -> dict[str, Any]:
    return {"run": scope.run, "feed": scope.feed.value}


def _head(scope: Scope) -> Document:
    return {"_id": _feed(scope), **_feed(scope), "kind": "feed"}


def _lane(scope: Scope, lane: int) -> Document:
    return {"_id": {**_feed(scope), "lane": lane}, **_feed(scope), "kind": "lane", "lane": lane}


def _chunk(mark: ChunkMark) -> Document:
    which: Mapping[str, Any] = {"stream": mark.stream, "chunk": mark.chunk}
    return {"_id": {**_feed(mark.scope), **which}, **_feed(mark.scope), "kind": "chunk", **which}


def epoch_moved(scope: Scope) -> EpochMovedError:
    """Why nothing of this epoch is written."""
    return EpochMovedError(f"run {scope.run}: epoch {scope.epoch} is over, another orchestrator took over")


def _attempt_over(mark: ChunkMark) -> MarkMovedError:
    return MarkMovedError(f"chunk {mark.chunk} of {mark.stream}: attempt {mark.attempt} is over")
