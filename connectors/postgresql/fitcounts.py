"""Counts of notes and of filled columns, written with the rows that they are about.

Writers hardly ever add to the same rows: chunks have `PARTS` places for theirs, by their numbers, each lane has one,
and what counts is the sum of all (`fitsums`). Places of lanes may be below zero: they take off what a chunk brought.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pyarrow as pa

from tranship.connectors.fit import Cell, Kind
from tranship.connectors.postgresql.datasessions import DataSession, many, one, state_name
from tranship.connectors.postgresql.fitsums import FILLED
from tranship.connectors.protocols import ChunkMark, LaneMark, Scope
from tranship.plans.streams import Stream

PARTS = 64
"""More than there are workers, which load chunks in the order of their numbers; and few, because a terabyte has some
hundred thousand chunks, each with a count for each column."""


class FitCounts:
    """What the data plane's session adds, each call in the caller's transaction."""

    def __init__(self, session: DataSession, state_schema: str) -> None:
        self._session = session
        self._name = state_name(state_schema, "fit")

    def loaded(self, mark: ChunkMark, notes: Counter[Kind], filled: Counter[Cell]) -> None:
        """What came with a chunk."""
        rows = [(kind.effect.value, kind.place, kind.reason, count) for kind, count in notes.items()]
        rows += [(FILLED, cell.table, cell.column, count) for cell, count in filled.items()]
        self._add(mark.scope, mark.stream, mark.chunk % PARTS, rows)

    def replaced(self, mark: LaneMark, stream: Stream, notes: Counter[Kind]) -> None:
        """By how much the notes of rows have changed; those that are equal are left out."""
        rows = [(kind.effect.value, kind.place, kind.reason, count) for kind, count in notes.items() if count]
        self._add(mark.scope, stream.name, -1 - mark.lane, rows)

    def _add(self, scope: Scope, stream: str, part: int, rows: Sequence[tuple[str, str, str, int]]) -> None:
        # In one order, so that two chunks of one place do not wait for each other in a circle.
        effects, places, reasons, counts = zip(*sorted(rows), strict=True) if rows else ((), (), (), ())
        if not counts:
            return
        self._session.run(
            f"INSERT INTO {self._name} AS f (run, feed, stream, part, effect, place, reason, count) "
            "SELECT $1, $2, $3, $4, g.* FROM unnest($5::text[], $6::text[], $7::text[], $8::int8[]) AS g "
            "ON CONFLICT (run, feed, stream, part, effect, place, reason) "
            "DO UPDATE SET count = f.count + excluded.count",
            [
                one(scope.run, pa.string()),
                one(scope.feed, pa.string()),
                one(stream, pa.string()),
                one(part, pa.int32()),
                *(many(column, pa.string()) for column in (effects, places, reasons)),
                many(counts, pa.int64()),
            ],
        )
