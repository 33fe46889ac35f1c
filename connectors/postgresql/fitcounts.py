"""Counts of notes and of filled columns, written with the rows that they are about.

Each chunk has rows of its own, and so has each lane: a writer adds to none that another one holds, and what counts is
their sum (`fitsums`). Those of lanes may be below zero: they take off what a chunk brought.
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


class FitCounts:
    """What the data plane's session adds, each call in the caller's transaction."""

    def __init__(self, session: DataSession, state_schema: str) -> None:
        self._session = session
        self._name = state_name(state_schema, "fit")

    def loaded(self, mark: ChunkMark, notes: Counter[Kind], filled: Counter[Cell]) -> None:
        """What came with a chunk."""
        rows = [(kind.effect.value, kind.place, kind.reason, count) for kind, count in notes.items()]
        rows += [(FILLED, cell.table, cell.column, count) for cell, count in filled.items()]
        self._add(mark.scope, mark.stream, mark.chunk, rows)

    def replaced(self, mark: LaneMark, stream: Stream, notes: Counter[Kind]) -> None:
        """By how much the notes of rows have changed; those that are equal are left out."""
        rows = [(kind.effect.value, kind.place, kind.reason, count) for kind, count in sorted(notes.items()) if count]
        self._add(mark.scope, stream.name, -1 - mark.lane, rows)

    def _add(self, scope: Scope, stream: str, part: int, rows: Sequence[tuple[str, str, str, int]]) -> None:
        effects, places, reasons, counts = zip(*rows, strict=True) if rows else ((), (), (), ())
        if not counts:
            return
        self._session.run(
            f"INSERT INTO {self._name} AS f (run, round, stream, part, effect, place, reason, count) "
            "SELECT $1, $2, $3, $4, g.* FROM unnest($5::text[], $6::text[], $7::text[], $8::int8[]) AS g "
            "ON CONFLICT (run, round, stream, part, effect, place, reason) "
            "DO UPDATE SET count = f.count + excluded.count",
            [
                one(scope.run, pa.string()),
                one(scope.round, pa.int32()),
                one(stream, pa.string()),
                one(part, pa.int32()),
                *(many(column, pa.string()) for column in (effects, places, reasons)),
                many(counts, pa.int64()),
            ],
        )
