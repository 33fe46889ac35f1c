"""What comparisons found: divergences on record, which no later look has found equal (`rules.md` K2), and counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Connection,
    Double,
    LargeBinary,
    Text,
    and_,
    bindparam,
    delete,
    func,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from tranship.connectors.fit import Cell
from tranship.connectors.postgresql.statetables import StateTables, digest, in_text
from tranship.connectors.protocols import Compared, Mismatch, Scope, Tally

NOTE = func.pg_current_xact_id().cast(Text).cast(BigInteger)
"""The transaction that puts something on record: unlike a count, it never comes again."""


class Divergences:
    """The record of one feed, inside of the caller's transaction."""

    def __init__(self, connection: Connection, tables: StateTables, scope: Scope) -> None:
        self._connection = connection
        self._table = tables.divergence
        self._scope = scope

    def note(self, found: Sequence[Mismatch], equal: Sequence[Mismatch]) -> None:
        """Take off the record what was found equal, unless it was noted again since; put on it what was found."""
        # Two who note at once would lock single rows in different orders. It is done seldom, and soon over.
        self._connection.execute(text(f"LOCK TABLE {in_text(self._table)} IN SHARE ROW EXCLUSIVE MODE"))
        for stream in sorted({one.stream for one in equal}):
            self._forget(stream, [one for one in equal if one.stream == stream])
        rows = [
            {
                "run": self._scope.run,
                "feed": self._scope.feed,
                "stream": one.stream,
                "digest": digest(one.key),
                "key": one.key,
                "kind": one.kind,
                "columns": list(one.columns),
            }
            for one in found
        ]
        if rows:
            add = upsert(self._table).values(noted=NOTE)
            again = {name: add.excluded[name] for name in ("noted", "kind", "columns")}
            keys = self._table.primary_key.columns.keys()
            self._connection.execute(add.on_conflict_do_update(index_elements=keys, set_=again), rows)

    def all(self) -> list[Mismatch]:
        """What is on record, in the order of stream and key."""
        table = self._table
        rows = self._connection.execute(select(table).where(self._mine()).order_by(table.c.stream, table.c.key))
        return [Mismatch(row.stream, row.key, row.kind, tuple(row.columns), row.noted) for row in rows]

    def _forget(self, stream: str, equal: Sequence[Mismatch]) -> None:
        table = self._table
        noted = (
            func.unnest(
                bindparam("digests", [digest(one.key) for one in equal], type_=ARRAY(LargeBinary)),
                bindparam("notes", [one.noted for one in equal], type_=ARRAY(BigInteger)),
            )
            .table_valued("digest", "noted", name="seen")
            .render_derived()
        )
        same = and_(table.c.digest == noted.c.digest, table.c.noted == noted.c.noted)
        self._connection.execute(delete(table).where(self._mine(), table.c.stream == stream, same))

    def _mine(self) -> ColumnElement[bool]:
        return and_(self._table.c.run == self._scope.run, self._table.c.feed == self._scope.feed)


class Comparisons:
    """What the newest comparison of all keys of one feed counted, inside of the caller's transaction."""

    def __init__(self, connection: Connection, tables: StateTables, scope: Scope) -> None:
        self._connection = connection
        self._table = tables.comparison
        self._scope = scope

    def note(self, streams: Mapping[str, Tally], moving: int, filled: Mapping[str, Mapping[Cell, int]]) -> None:
        """Put one on record in the place of the last."""
        add = upsert(self._table).values(
            run=self._scope.run,
            feed=self._scope.feed,
            at=func.clock_timestamp(),
            streams={name: asdict(tally) for name, tally in streams.items()},
            moving=moving,
            filled={name: [[*cell, count] for cell, count in cells.items()] for name, cells in filled.items()},
        )
        again = {name: add.excluded[name] for name in ("at", "streams", "moving", "filled")}
        keys = self._table.primary_key.columns.keys()
        self._connection.execute(add.on_conflict_do_update(index_elements=keys, set_=again))

    def newest(self) -> Compared | None:
        """The one on record."""
        table = self._table
        at, now = (func.extract("epoch", time).cast(Double) for time in (table.c.at, func.clock_timestamp()))
        mine = and_(table.c.run == self._scope.run, table.c.feed == self._scope.feed)
        query = select(at.label("at"), (now - at).label("age_s"), table.c.streams, table.c.moving).where(mine)
        row = self._connection.execute(query).first()
        if row is None:
            return None
        return Compared(row.at, row.age_s, {name: Tally(**tally) for name, tally in row.streams.items()}, row.moving)

    def filled(self) -> dict[str, dict[Cell, int]]:
        """The values that the one on record has counted, by stream."""
        table = self._table
        mine = and_(table.c.run == self._scope.run, table.c.feed == self._scope.feed)
        counted = self._connection.execute(select(table.c.filled).where(mine)).scalar() or {}
        return {name: {Cell(place, column): count for place, column, count in cells} for name, cells in counted.items()}
