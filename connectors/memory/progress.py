"""The memory target's progress: chunks, lanes, dirty keys, position, quarantine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from tranship.connectors.batch import Quarantined
from tranship.connectors.errors import MarkMovedError, UnsettledError
from tranship.connectors.fit import Cell, Fit
from tranship.connectors.memory.feed import FeedProgress
from tranship.connectors.memory.reader import Hook, no_hook
from tranship.connectors.memory.routing import MemoryRecords
from tranship.connectors.memory.state import TargetState
from tranship.connectors.memory.store import MemoryStore
from tranship.connectors.protocols import (
    Aside,
    Backlog,
    Build,
    Changes,
    Chunk,
    ChunkMark,
    Compared,
    DirtyKey,
    Key,
    LaneMark,
    Mismatch,
    Opening,
    Position,
    Progress,
    Scope,
    Span,
    Tally,
    Totals,
    TouchedKey,
    Unapplied,
)
from tranship.connectors.protocols.routing import moved
from tranship.plans.streams import Stream


class MemoryProgress:
    """`Progress` over a `MemoryStore`. `hook` is called with the name of each crash site that is reached."""

    def __init__(self, store: MemoryStore, hook: Hook = no_hook) -> None:
        self._store = store
        self._hook = hook

    # --- capture

    def start_capture(self, scope: Scope, position: Position, lanes: int) -> Position:
        def work(state: TargetState) -> Position:
            kept = state.feed(scope)
            if kept.position is None:
                kept.position = position
                kept.kept_at = kept.changed_at = self._store.clock()
                kept.lanes = [0] * lanes
            return kept.position

        return self._store.transact("start_capture", scope, work)

    def keep(self, scope: Scope, changes: Changes) -> None:
        def work(state: TargetState) -> None:
            kept = _capturing(state, scope)
            now = self._store.clock()
            for key in changes.keys:
                kept.make_dirty(key, now)
            kept.markers |= dict.fromkeys(changes.markers)
            kept.position = changes.position
            kept.kept_at = now - changes.behind_s
            if changes.keys:
                kept.changed_at = now

        self._hook("keep.before_position")
        self._hook("keep.before_commit")
        self._store.transact("keep", scope, work)
        self._hook("keep.after_commit")

    def position(self, scope: Scope) -> Position | None:
        return self._kept(scope).position

    def restart_capture(self, scope: Scope, position: Position) -> None:
        def work(state: TargetState) -> None:
            kept = _capturing(state, scope)
            kept.position = position
            kept.kept_at = self._store.clock()
            kept.markers.clear()

        self._store.transact("restart_capture", scope, work)

    def marker_seen(self, scope: Scope, name: str) -> bool:
        return name in self._kept(scope).markers

    def newest_marker(self, scope: Scope, owner: str) -> str | None:
        own = (name for name in reversed(self._kept(scope).markers) if name.startswith(f"{owner}."))
        return next(own, None)

    def stop_capture(self, scope: Scope) -> None:
        def work(state: TargetState) -> None:
            known = state.feed(scope)
            state.feeds[scope.run, scope.feed] = FeedProgress(
                quarantine=known.quarantine,
                chunks=known.chunks,
                attempts=known.attempts,
                divergences=known.divergences,
                compared=known.compared,
            )

        self._store.transact("stop_capture", scope, work)

    # --- chunks

    def plan_chunks(self, scope: Scope, stream: Stream, spans: Sequence[Span]) -> None:
        def work(state: TargetState) -> None:
            chunks = [Chunk(stream.name, number, span, "planned", 0) for number, span in enumerate(spans)]
            state.feed(scope).chunks.setdefault(stream.name, chunks)

        self._store.transact("plan_chunks", scope, work)

    def totals(self, scope: Scope) -> dict[str, Totals]:
        found = {}
        for stream, chunks in self._kept(scope).chunks.items():
            loaded = [chunk for chunk in chunks if chunk.state == "loaded"]
            found[stream] = Totals(len(chunks), len(loaded), sum(chunk.rows for chunk in loaded))
        return found

    def chunks(self, scope: Scope, stream: Stream) -> list[Chunk]:
        return list(self._kept(scope).chunks.get(stream.name, ()))

    def begin_chunk(self, scope: Scope, chunk: Chunk) -> ChunkMark | None:
        def work(state: TargetState) -> ChunkMark | None:
            kept = state.feed(scope)
            chunks = kept.chunks.get(chunk.stream, [])
            if chunk.number >= len(chunks) or chunks[chunk.number].span != chunk.span:
                raise MarkMovedError(f"chunk {chunk.number} of {chunk.stream} is not planned any more")
            if chunks[chunk.number].state == "loaded":
                return None
            attempt = kept.next_attempt(chunk)
            chunks[chunk.number] = replace(chunks[chunk.number], state="pending", attempt=attempt)
            return ChunkMark(scope, chunk.stream, chunk.number, attempt)

        return self._store.transact("begin_chunk", scope, work)

    def forget_chunks(self, scope: Scope, streams: Sequence[Stream]) -> None:
        def work(state: TargetState) -> None:
            kept = state.feed(scope)
            names = {stream.name for stream in streams}
            for stream in streams:
                state.empty(scope, stream)
                kept.chunks.pop(stream.name, None)
            kept.quarantine = {key: q for key, q in kept.quarantine.items() if key[0] not in names}
            kept.forget_fit(names)
            # A batch that was taken while the chunks were loaded must not put rows into the emptied tables (I2).
            kept.move_lanes()

        self._store.transact("forget_chunks", scope, work)

    # --- dirty keys

    def take(self, scope: Scope, lane: int, limit: int) -> tuple[LaneMark, list[DirtyKey]]:
        kept = self._kept(scope)
        mark = kept.lane_marks(scope)[lane]
        ready = [key for key in kept.dirty if kept.lane_of(key) == lane and kept.is_loaded(key)]
        of_one_stream = [key for key in ready if key[0] == ready[0][0]][:limit]
        if kept.sealed:
            return mark, []
        return mark, [DirtyKey(*key, kept.dirty[key].generation) for key in of_one_stream]

    def lane_marks(self, scope: Scope) -> list[LaneMark]:
        return self._kept(scope).lane_marks(scope)

    @property
    def records(self) -> MemoryRecords:
        return MemoryRecords(self._store.on_target, self._store.clock)

    def seal(self, scope: Scope, most_divergences: int, opening: Opening | None = None) -> None:
        def work(state: TargetState) -> None:
            kept = state.feed(scope)
            unseen = [key for key in kept.touched if key not in kept.divergences]
            known = len(kept.divergences)
            if kept.dirty or unseen or known > most_divergences:
                raise UnsettledError(
                    f"{len(kept.dirty)} changed keys are not applied, {len(unseen)} that were applied are not "
                    f"compared, {known} are known to differ, of which {most_divergences} may"
                )
            kept.seal()
            if opening is not None and not state.routing.opened(opening):
                raise MarkMovedError(moved(opening))

        self._hook("seal.before_commit")
        self._store.transact("seal", scope, work)
        self._hook("seal.after_commit")

    def unseal(self, scope: Scope) -> None:
        self._store.transact("unseal", scope, lambda state: state.feed(scope).unseal())

    def backlog(self, scope: Scope) -> Backlog:
        kept = self._kept(scope)
        now = self._store.clock()
        oldest = min((entry.since for entry in kept.dirty.values()), default=now)
        if kept.position is None:
            return Backlog(len(kept.dirty), now - oldest, 0.0, 0.0)
        return Backlog(len(kept.dirty), now - oldest, now - kept.kept_at, now - kept.changed_at)

    def unapplied(self, scope: Scope, most: int) -> list[Unapplied]:
        entries = [(entry.since, *key) for key, entry in self._kept(scope).dirty.items()]
        return [Unapplied(stream, key, since) for since, stream, key in sorted(entries)[:most]]

    def mark_dirty(self, scope: Scope, keys: Sequence[tuple[str, Key]]) -> None:
        def work(state: TargetState) -> None:
            for key in keys:
                state.feed(scope).make_dirty(key, self._store.clock())

        self._store.transact("mark_dirty", scope, work)

    def parked(self, scope: Scope) -> dict[str, int]:  # noqa: ARG002
        """Nobody else is here."""
        return {}

    def still_dirty(self, scope: Scope, stream: Stream, keys: Sequence[Key]) -> set[Key]:
        dirty = self._kept(scope).dirty
        return {key for key in keys if (stream.name, key) in dirty}

    def forget_touched(self, scope: Scope) -> None:
        self._store.transact("forget_touched", scope, lambda state: state.feed(scope).touched.clear())

    def touched(self, scope: Scope, stream: Stream, after: Key | None, limit: int) -> list[TouchedKey]:
        keys = sorted((key, touch) for (name, key), touch in self._kept(scope).touched.items() if name == stream.name)
        return [TouchedKey(key, touch) for key, touch in keys if after is None or key > after][:limit]

    def forget_equal(self, scope: Scope, stream: Stream, keys: Sequence[TouchedKey]) -> int:
        def work(state: TargetState) -> int:
            touched = state.feed(scope).touched
            equal = [(stream.name, one.key) for one in keys if touched.get((stream.name, one.key)) == one.touch]
            for key in equal:
                del touched[key]
            return len(equal)

        return self._store.transact("forget_equal", scope, work)

    # --- findings

    def note_divergences(self, scope: Scope, found: Sequence[Mismatch], equal: Sequence[Mismatch]) -> None:
        def work(state: TargetState) -> None:
            kept = state.feed(scope)
            noted = kept.divergences
            for one in equal:
                if (known := noted.get((one.stream, one.key))) is not None and known.noted == one.noted:
                    del noted[one.stream, one.key]
            kept.notes += 1
            noted |= {(one.stream, one.key): replace(one, noted=kept.notes) for one in found}

        self._store.transact("note_divergences", scope, work)

    def divergences(self, scope: Scope) -> list[Mismatch]:
        known = self._kept(scope).divergences
        return [known[place] for place in sorted(known)]

    def note_comparison(
        self, scope: Scope, streams: Mapping[str, Tally], moving: int, filled: Mapping[str, Mapping[Cell, int]]
    ) -> None:
        def work(state: TargetState) -> None:
            kept = state.feed(scope)
            kept.compared = Compared(self._store.clock(), 0.0, dict(streams), moving)
            kept.recounted = {name: dict(cells) for name, cells in filled.items()}

        self._store.transact("note_comparison", scope, work)

    def comparison(self, scope: Scope) -> Compared | None:
        found = self._kept(scope).compared
        return found and replace(found, age_s=self._store.clock() - found.at)

    def fit(self, scope: Scope) -> dict[str, Fit]:
        kept = self._kept(scope)
        found: dict[str, Fit] = {}
        for name in {stream for stream, _ in kept.filled}:
            held = [notes for (stream, _), notes in kept.held_notes.items() if stream == name]
            notes = Counter(note.kind for some in held for note in some)
            filled = {cell: n for (stream, cell), n in kept.filled.items() if stream == name}
            if kept.compared is not None and name in kept.recounted:
                found[name] = Fit(notes, kept.recounted[name], kept.compared.at)
            else:
                found[name] = Fit(notes, filled)
        return found

    def quarantine(self, scope: Scope, stream: Stream, after: Key | None, limit: int) -> list[Aside]:
        entries = [q for q in self._kept(scope).aside(stream.name) if after is None or q.key > after]
        return [Aside(q.key, q.path, q.reason, len(q.document)) for q in entries[:limit]]

    def quarantined(self, scope: Scope, stream: Stream, key: Key) -> Quarantined | None:
        return self._kept(scope).quarantine.get((stream.name, key))

    def quarantine_count(self, scope: Scope) -> dict[str, int]:
        return dict(Counter(name for name, _ in self._kept(scope).quarantine))

    def building(self, streams: Sequence[Stream]) -> list[Build]:  # noqa: ARG002
        """It builds them in no time."""
        return []

    def close(self) -> None:
        """Nothing to release; the store lives on."""

    def _kept(self, scope: Scope) -> FeedProgress:
        """A snapshot, to read from."""
        return self._store.state.feeds.get((scope.run, scope.feed), FeedProgress())


def _capturing(state: TargetState, scope: Scope) -> FeedProgress:
    """A feed, whose capture has to be on: a position that nobody started from must not appear."""
    kept = state.feed(scope)
    if kept.position is None:
        raise MarkMovedError(f"run {scope.run}: capture has not started or was stopped")
    return kept


def _implements(progress: MemoryProgress) -> Progress:
    return progress
