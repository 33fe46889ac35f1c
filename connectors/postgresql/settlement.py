"""What is kept about rows that were written, in the transaction of the rows or in a ledger's own.

In the order of locks: quarantine, counts of chunks or dirty entries, touched keys, counts of lanes. Within one table it
is that of stream and digest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import pyarrow as pa

from tranship.connectors.batch import Batch, Quarantined
from tranship.connectors.fit import Cell, Kind, Notes, noted
from tranship.connectors.postgresql.aside import Entries
from tranship.connectors.postgresql.datasessions import DataSession, many, one, state_name
from tranship.connectors.postgresql.fitcounts import FitCounts
from tranship.connectors.postgresql.statetables import digest
from tranship.connectors.protocols import ChunkMark, DirtyKey, Key, LaneMark, Scope
from tranship.plans.streams import Stream


class Settlement:
    """Of one run and feed, inside of the caller's transaction."""

    def __init__(self, session: DataSession, state_schema: str, scope: Scope) -> None:
        self._session = session
        self._state = state_schema
        self._fit = FitCounts(session, state_schema)
        self.entries = Entries(session, state_schema, scope)

    def keep_aside(self, stream: Stream, quarantined: Sequence[Quarantined]) -> None:
        """What a chunk has brought that no row holds."""
        self.entries.keep(stream, quarantined)

    def count(self, mark: ChunkMark, notes: Counter[Kind], filled: Counter[Cell]) -> None:
        """How well a chunk's documents fit."""
        self._fit.loaded(mark, notes, filled)

    def settle(
        self,
        stream: Stream,
        dirty: Sequence[DirtyKey],
        batch: Batch,
        mark: LaneMark,
        *,
        before: Notes,
        held: Mapping[Key, str],
    ) -> int:
        """What `BatchTarget.replace` says of quarantine, dirty entries, touched keys and notes. `held`: keys whose rows
        stay as they are, and whose. Returns how many dirty entries were removed."""
        free = [entry.key for entry in dirty if entry.key not in held]
        self.entries.replace(stream, free, [entry for entry in batch.quarantined if entry.key not in held])
        removed = self._clean(mark.scope, stream, dirty, held)
        there = [key for key in batch.keys if key not in held]
        self._fit.replaced(mark, stream, _less(noted(batch.notes, there), noted(before, free)))
        return removed

    def _clean(self, scope: Scope, stream: Stream, dirty: Sequence[DirtyKey], held: Mapping[Key, str]) -> int:
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
            [*place(scope, stream), many([entry[0] for entry in every], pa.binary())],
        )
        self._park(scope, stream, [entry for entry in every if entry[1] in held], held)
        entries = [entry for entry in every if entry[1] not in held]
        digests = many([entry[0] for entry in entries], pa.binary())
        generations = many([entry[2] for entry in entries], pa.int64())
        removed: int = self._session.run(
            f"DELETE FROM {self._table('dirty')} d USING unnest($4::bytea[], $5::int8[]) AS g(digest, generation) "
            "WHERE d.run = $1 AND d.feed = $2 AND d.stream = $3 AND d.digest = g.digest "
            "AND d.generation = g.generation RETURNING d.digest",
            [*place(scope, stream), digests, generations],
        ).num_rows
        if removed < len(entries):
            # What is left changed since it was taken; it is made equal up to now, so its age starts anew.
            self._session.run(
                f"UPDATE {self._table('dirty')} SET first_seen = clock_timestamp() "
                "WHERE run = $1 AND feed = $2 AND stream = $3 AND digest = ANY($4::bytea[])",
                [*place(scope, stream), digests],
            )
        # An entry that is there is locked, so that nobody forgets it while these rows are not committed.
        self._session.run(
            f"INSERT INTO {self._table('touched')} (run, feed, stream, digest, key, touch) "
            "SELECT $1, $2, $3, g.digest, g.key, pg_current_xact_id()::text::int8 "
            "FROM unnest($4::bytea[], $5::bytea[]) AS g(digest, key) "
            "ON CONFLICT (run, feed, stream, digest) DO UPDATE SET touch = excluded.touch",
            [*place(scope, stream), digests, many([entry[1] for entry in entries], pa.binary())],
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
                *place(scope, stream),
                many([entry[0] for entry in entries], pa.binary()),
                many([entry[2] for entry in entries], pa.int64()),
                many([held[entry[1]] for entry in entries], pa.string()),
            ],
        )

    def _table(self, name: str) -> str:
        return state_name(self._state, name)


def place(scope: Scope, stream: Stream) -> list[pa.Array]:
    """The parameters `run`, `feed` and `stream`."""
    return [one(scope.run, pa.string()), one(scope.feed, pa.string()), one(stream.name, pa.string())]


def _less(after: Counter[Kind], before: Counter[Kind]) -> Counter[Kind]:
    """By how much each count has changed, up or down."""
    after.subtract(before)
    return after
