"""The data plane: whole chunks in, dirty keys replaced, each with its mark in one transaction.

**Order within a transaction.** Rows first, then what is kept about them, then the mark's swap, last the epoch check.
So what concurrent writers contend for (dirty entries, marks, the epoch) is locked as late and as briefly as possible,
and always in this order: nobody waits in a circle. Within one table the order is that of stream and digest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import pyarrow as pa

from tranship.connectors.batch import Batch
from tranship.connectors.errors import ConnectorError, EpochMovedError, MarkMovedError
from tranship.connectors.fit import NOTHING_NOTED, Cell, Kind, Notes, filled, noted
from tranship.connectors.postgresql.aside import Entries
from tranship.connectors.postgresql.conflicts import unique_conflict
from tranship.connectors.postgresql.datasessions import DataSession, many, one, state_name
from tranship.connectors.postgresql.errors import DuplicateError, ReferredError
from tranship.connectors.postgresql.fitcounts import FitCounts
from tranship.connectors.postgresql.frames import frames
from tranship.connectors.postgresql.keyspace import KeySpace
from tranship.connectors.postgresql.layout import Layout, layout
from tranship.connectors.postgresql.reader import Reader
from tranship.connectors.postgresql.replacement import refused_rows, replace_free_rows, replace_rows
from tranship.connectors.postgresql.statetables import digest
from tranship.connectors.protocols import ChunkMark, DirtyKey, Key, LaneMark, Loaded, Scope, Span
from tranship.plans.streams import Endpoint, Stream

Hook = Callable[[str], None]

Write = Callable[[DataSession, KeySpace, Sequence[Key], pa.RecordBatch], Mapping[Key, str]]
"""Writes rows; returns the keys that somebody else's foreign key holds, with the name of its table."""


class PostgresTarget:
    """`BatchTarget` on one session. Belongs to one thread; it survives every error and reconnects by itself."""

    def __init__(self, endpoint: Endpoint, scope: Scope, hook: Hook) -> None:
        self._schema = endpoint.schema
        self._state = endpoint.state_schema
        self._hook = hook
        self._session = DataSession(endpoint, scope)
        self._entries = Entries(self._session, endpoint.state_schema, scope)
        self._fit = FitCounts(self._session, endpoint.state_schema)

    def load(self, stream: Stream, batches: Iterable[Batch], mark: ChunkMark) -> Loaded:
        root = self._layout(stream)
        rows = child_rows = quarantined = 0
        notes, values = Counter[Kind](), Counter[Cell]()
        try:
            with self._session.write():
                for batch in batches:
                    rows += batch.rows.num_rows
                    child_rows += self._fill(root, batch)
                    quarantined += len(batch.quarantined)
                    self._entries.keep(stream, batch.quarantined)
                    notes.update(noted(batch.notes, batch.keys))
                    values.update(filled(stream, batch.rows))  # with those that are 0
                self._fit.loaded(mark, notes, values)
                self._hook("load.before_mark")
                self._swap_chunk(mark, rows, quarantined)
                self._hook("load.before_epoch")
                self._check_epoch(mark.scope)
                self._hook("load.before_commit")
        except DuplicateError as error:
            self._check_chunk(mark)  # an attempt that was held until another one had loaded the chunk meets its rows
            raise ConnectorError(
                f"stream {stream.name}, chunk {mark.chunk}: a key or unique value is there already, in table "
                f"{error.table} ({error.constraint}). Either the span was not empty or the source gave a key twice. "
                "Nothing of the chunk was kept."
            ) from None
        self._hook("load.after_commit")
        return Loaded(rows, child_rows, quarantined)

    def replace(
        self,
        stream: Stream,
        dirty: Sequence[DirtyKey],
        batch: Batch,
        marks: Sequence[LaneMark],
        before: Notes = NOTHING_NOTED,
    ) -> int:
        keys = KeySpace(stream, self._layout(stream))
        try:
            try:
                removed = self._replace(keys, dirty, batch, marks, before, write=_replace_all)
            except ReferredError:
                removed = self._replace(keys, dirty, batch, marks, before, write=replace_free_rows)
        except DuplicateError as error:
            raise unique_conflict(self._session, keys, error, dirty, batch) from None
        self._hook("replace.after_commit")
        return removed

    def _replace(
        self,
        keys: KeySpace,
        dirty: Sequence[DirtyKey],
        batch: Batch,
        marks: Sequence[LaneMark],
        before: Notes,
        *,
        write: Write,
    ) -> int:
        scope, stream = marks[0].scope, keys.stream
        with self._session.write():
            self._hook("replace.before_delete")
            held = write(self._session, keys, [entry.key for entry in dirty], batch.rows)
            free = [entry.key for entry in dirty if entry.key not in held]
            self._entries.replace(stream, free, [entry for entry in batch.quarantined if entry.key not in held])
            removed = self._settle(scope, stream, dirty, held)
            there = [key for key in batch.keys if key not in held]
            self._fit.replaced(marks[0], stream, _less(noted(batch.notes, there), noted(before, free)))
            self._hook("replace.before_mark")
            for mark in sorted(marks, key=lambda mark: mark.lane):
                self._swap_lane(mark)
            self._hook("replace.before_epoch")
            self._check_epoch(scope)
            self._hook("replace.before_commit")
        return removed

    def refused(self, stream: Stream, batch: Batch) -> dict[Key, str]:
        with self._session.rehearsal():
            return refused_rows(self._session, KeySpace(stream, self._layout(stream)), batch.rows)

    def read(self, stream: Stream, span: Span) -> Iterator[Batch]:
        return self._reader(stream).read(span)

    def read_keys(self, stream: Stream, keys: Sequence[Key]) -> Batch:
        return self._reader(stream).read_keys(keys)

    def with_residue(self, stream: Stream, keys: Sequence[Key]) -> pa.RecordBatch:
        return self._reader(stream).with_residue(keys)

    def some_with_residue(self, stream: Stream, limit: int) -> pa.RecordBatch:
        return self._reader(stream).some_with_residue(limit)

    def close(self) -> None:
        self._session.close()

    # --- rows ---------------------------------------------------------------------------------------------------------

    def _reader(self, stream: Stream) -> Reader:
        return Reader(self._session, stream, self._layout(stream), self._entries)

    def _layout(self, stream: Stream) -> Layout:
        return layout(stream, self._schema)

    def _fill(self, root: Layout, batch: Batch) -> int:
        """Insert the batch's rows; returns how many went into child tables."""
        child_rows = 0
        for table, rows in frames(root, batch.rows):
            self._session.append(table.schema, table.table, rows)
            child_rows += rows.num_rows if table is not root else 0
        return child_rows

    # --- what is kept about them --------------------------------------------------------------------------------------

    def _settle(self, scope: Scope, stream: Stream, dirty: Sequence[DirtyKey], held: Mapping[Key, str]) -> int:
        """Remove the dirty entries whose generation is still the given one, remember their keys as touched.

        Those of held keys stay, parked under the name of the table that holds them.
        """
        if not dirty:
            return 0
        every = sorted((digest(entry.key), entry.key, entry.generation) for entry in dirty)
        # Lock first, in the order in which capture locks them: deleting in the planner's order could deadlock.
        self._session.run(
            f"SELECT digest FROM {self._table('dirty')} "
            "WHERE run = $1 AND feed = $2 AND stream = $3 AND digest = ANY($4::bytea[]) "
            "ORDER BY digest FOR UPDATE",
            [*_place(scope, stream), many([entry[0] for entry in every], pa.binary())],
        )
        self._park(scope, stream, [entry for entry in every if entry[1] in held], held)
        entries = [entry for entry in every if entry[1] not in held]
        digests = many([entry[0] for entry in entries], pa.binary())
        generations = many([entry[2] for entry in entries], pa.int64())
        removed: int = self._session.run(
            f"DELETE FROM {self._table('dirty')} d USING unnest($4::bytea[], $5::int8[]) AS g(digest, generation) "
            "WHERE d.run = $1 AND d.feed = $2 AND d.stream = $3 AND d.digest = g.digest "
            "AND d.generation = g.generation RETURNING d.digest",
            [*_place(scope, stream), digests, generations],
        ).num_rows
        if removed < len(entries):
            # What is left changed since it was taken; it is made equal up to now, so its age starts anew.
            self._session.run(
                f"UPDATE {self._table('dirty')} SET first_seen = clock_timestamp() "
                "WHERE run = $1 AND feed = $2 AND stream = $3 AND digest = ANY($4::bytea[])",
                [*_place(scope, stream), digests],
            )
        # An entry that is there is locked, so that nobody forgets it while these rows are not committed.
        self._session.run(
            f"INSERT INTO {self._table('touched')} (run, feed, stream, digest, key, touch) "
            "SELECT $1, $2, $3, g.digest, g.key, pg_current_xact_id()::text::int8 "
            "FROM unnest($4::bytea[], $5::bytea[]) AS g(digest, key) "
            "ON CONFLICT (run, feed, stream, digest) DO UPDATE SET touch = excluded.touch",
            [*_place(scope, stream), digests, many([entry[1] for entry in entries], pa.binary())],
        )
        return removed

    def _park(
        self, scope: Scope, stream: Stream, entries: Sequence[tuple[bytes, Key, int]], held: Mapping[Key, str]
    ) -> None:
        if not entries:
            return
        self._session.run(
            f"UPDATE {self._table('dirty')} AS d SET parked = g.holder, parked_at = clock_timestamp() "
            "FROM unnest($4::bytea[], $5::int8[], $6::text[]) AS g(digest, generation, holder) "
            "WHERE d.run = $1 AND d.feed = $2 AND d.stream = $3 AND d.digest = g.digest "
            "AND d.generation = g.generation",
            [
                *_place(scope, stream),
                many([entry[0] for entry in entries], pa.binary()),
                many([entry[2] for entry in entries], pa.int64()),
                many([held[entry[1]] for entry in entries], pa.string()),
            ],
        )

    # --- marks and epoch ----------------------------------------------------------------------------------------------

    def _swap_chunk(self, mark: ChunkMark, rows: int, quarantined: int) -> None:
        swapped = self._session.run(
            f"UPDATE {self._table('chunk')} SET state = 'loaded', rows = $6, quarantined = $7 "
            "WHERE run = $1 AND feed = $2 AND stream = $3 AND number = $4 AND state = 'pending' AND attempt = $5 "
            "RETURNING number",
            [*_chunk_place(mark), one(rows, pa.int64()), one(quarantined, pa.int64())],
        )
        if swapped.num_rows != 1:
            raise _attempt_is_over(mark)

    def _check_chunk(self, mark: ChunkMark) -> None:
        """`MarkMovedError` when the attempt is over. Only to explain a failure: it locks nothing."""
        with self._session.read():
            found = self._session.run(
                f"SELECT number FROM {self._table('chunk')} "
                "WHERE run = $1 AND feed = $2 AND stream = $3 AND number = $4 AND state = 'pending' AND attempt = $5",
                _chunk_place(mark),
            )
        if found.num_rows != 1:
            raise _attempt_is_over(mark)

    def _swap_lane(self, mark: LaneMark) -> None:
        swapped = self._session.run(
            f"UPDATE {self._table('lane')} SET seq = seq + 1 "
            "WHERE run = $1 AND feed = $2 AND lane = $3 AND seq = $4 AND NOT sealed RETURNING seq",
            [
                one(mark.scope.run, pa.string()),
                one(mark.scope.feed, pa.string()),
                one(mark.lane, pa.int32()),
                one(mark.seq, pa.int64()),
            ],
        )
        if swapped.num_rows != 1:
            raise MarkMovedError(f"lane {mark.lane} has moved on from {mark.seq}; nothing of this batch was kept")

    def _check_epoch(self, scope: Scope) -> None:
        """Last before COMMIT: the row stays locked in share mode, so the epoch cannot move in between."""
        found = self._session.run(
            f"SELECT epoch FROM {self._table('epoch')} WHERE run = $1 AND epoch = $2 FOR SHARE",
            [one(scope.run, pa.string()), one(scope.epoch, pa.int64())],
        )
        if found.num_rows != 1:
            raise EpochMovedError(f"run {scope.run}: another orchestrator took over; epoch {scope.epoch} is over")

    def _table(self, name: str) -> str:
        return state_name(self._state, name)


def _replace_all(
    session: DataSession, keys: KeySpace, wanted: Sequence[Key], rows: pa.RecordBatch
) -> Mapping[Key, str]:
    replace_rows(session, keys, wanted, rows)
    return {}


def _less(after: Counter[Kind], before: Counter[Kind]) -> Counter[Kind]:
    """By how much each count has changed, up or down."""
    after.subtract(before)
    return after


def _place(scope: Scope, stream: Stream) -> list[pa.Array]:
    """The parameters `run`, `feed` and `stream`."""
    return [one(scope.run, pa.string()), one(scope.feed, pa.string()), one(stream.name, pa.string())]


def _chunk_place(mark: ChunkMark) -> list[pa.Array]:
    """The parameters `run`, `feed`, `stream`, `number` and `attempt`."""
    return [
        one(mark.scope.run, pa.string()),
        one(mark.scope.feed, pa.string()),
        one(mark.stream, pa.string()),
        one(mark.chunk, pa.int32()),
        one(mark.attempt, pa.int32()),
    ]


def _attempt_is_over(mark: ChunkMark) -> MarkMovedError:
    return MarkMovedError(
        f"stream {mark.stream}, chunk {mark.chunk}: attempt {mark.attempt} is over; nothing of it was kept"
    )
