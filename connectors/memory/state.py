"""The target's tables as one value: rows, catalog, and each feed's progress.

`MemoryStore` runs every transaction on a fork and keeps the fork if it succeeds. Whatever hangs in a state by the
name of a dataclass is frozen; the dicts and sets are copied by `fork`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from tranship.connectors.batch import KEY
from tranship.connectors.errors import ConnectorError, EpochMovedError, RefusedError, UniqueConflictError
from tranship.connectors.memory.feed import FeedProgress
from tranship.connectors.memory.indexes import Held, constraint_name, held_values
from tranship.connectors.memory.routing import KeptRecords
from tranship.connectors.memory.rows import Row
from tranship.connectors.protocols import Feed, Key, Scope
from tranship.plans.streams import Index, Stream


@dataclass(frozen=True)
class Table:
    """One root table with its children: who made it, from which stream."""

    run: str
    stream: Stream


@dataclass
class TargetState:
    """All of the target. `unique` maps values to the key of the row that holds them, per unique index of a table.

    `referred`: rows, by table and key, that a row of another application refers to, with `ON DELETE CASCADE`.
    """

    epochs: dict[str, int] = field(default_factory=dict)
    catalog: dict[str, Table] = field(default_factory=dict)
    rows: dict[str, dict[Key, Row]] = field(default_factory=dict)
    indexes: set[tuple[str, Index]] = field(default_factory=set)
    unique: dict[tuple[str, Index], dict[Held, Key]] = field(default_factory=dict)
    referred: set[tuple[str, Key]] = field(default_factory=set)
    routing: KeptRecords = field(default_factory=KeptRecords)
    feeds: defaultdict[tuple[str, Feed], FeedProgress] = field(default_factory=lambda: defaultdict(FeedProgress))

    def fork(self) -> TargetState:
        return replace(
            self,
            epochs=dict(self.epochs),
            catalog=dict(self.catalog),
            rows={table: dict(rows) for table, rows in self.rows.items()},
            indexes=set(self.indexes),
            unique={constraint: dict(values) for constraint, values in self.unique.items()},
            referred=set(self.referred),
            routing=self.routing.fork(),
            feeds=defaultdict(FeedProgress, {name: known.fork() for name, known in self.feeds.items()}),
        )

    def check_epoch(self, scope: Scope) -> None:
        """The last statement of every transaction; raises `EpochMovedError`."""
        if self.epochs.get(scope.run) != scope.epoch:
            raise EpochMovedError(f"run {scope.run}: epoch {scope.epoch} is over, another orchestrator took over")

    def claim_epoch(self, scope: Scope) -> None:
        """A target that keeps marks alone: let this be the epoch, unless a later one has come."""
        if self.epochs.get(scope.run, 0) < scope.epoch:
            self.epochs[scope.run] = scope.epoch

    def feed(self, scope: Scope) -> FeedProgress:
        """Progress of a feed, empty at first."""
        return self.feeds[scope.run, scope.feed]

    def table(self, stream: Stream) -> dict[Key, Row]:
        """The rows of a stream by key; raises `RefusedError` when its table does not exist."""
        if stream.table not in self.catalog:
            raise RefusedError(f"table {stream.table} does not exist; run expand first")
        return self.rows[stream.table]

    def delete(self, stream: Stream, keys: Iterable[Key]) -> None:
        """Delete rows, each with its children, and what refers to it."""
        rows = self.table(stream)
        for key in keys:
            self._free(stream, rows.pop(key, None))
            self.referred.discard((stream.table, key))

    def put(self, stream: Stream, rows: Sequence[Row]) -> None:
        """Insert rows that are not there, and set the others in place; raises `UniqueConflictError`.

        All their unique values are freed before one is set, so that rows may swap them.
        """
        table = self.table(stream)
        for row in rows:
            self._free(stream, table.get(row[KEY]))
        table |= {row[KEY]: row for row in rows}
        for index, values in self._constraints(stream):
            self._claim(stream, index, values, rows)

    def _free(self, stream: Stream, row: Row | None) -> None:
        for index, values in self._constraints(stream):
            held = held_values(stream, index, row) if row is not None else None
            if row is not None and held is not None and values.get(held) == row[KEY]:
                del values[held]

    def empty(self, scope: Scope, stream: Stream) -> None:
        """Delete all rows of a table, if it is there and the run's own."""
        table = self.catalog.get(stream.table)
        if table is not None and table.run == scope.run:
            self.delete(stream, list(self.rows[stream.table]))

    def insert(self, stream: Stream, rows: Sequence[Row]) -> None:
        """Insert rows; raises `UniqueConflictError`, and `ConnectorError` for a key that is there already."""
        table = self.table(stream)
        for row in rows:
            if table.setdefault(row[KEY], row) is not row:
                raise ConnectorError(f"stream {stream.name}: the table holds a row with this key already")
        for index, values in self._constraints(stream):
            self._claim(stream, index, values, rows)

    def build_unique(self, stream: Stream, index: Index) -> None:
        """Build a unique index over the rows that are there; raises `UniqueConflictError`."""
        self.unique[stream.table, index] = {}
        self._claim(stream, index, self.unique[stream.table, index], list(self.table(stream).values()))

    def _constraints(self, stream: Stream) -> list[tuple[Index, dict[Held, Key]]]:
        return [(index, values) for (table, index), values in self.unique.items() if table == stream.table]

    def _claim(self, stream: Stream, index: Index, values: dict[Held, Key], rows: Sequence[Row]) -> None:
        inside = {row[KEY] for row in rows}
        held = [(row[KEY], held_values(stream, index, row)) for row in rows]
        holders = [(key, values.setdefault(value, key)) for key, value in held if value is not None]
        conflicts = [(key, holder) for key, holder in holders if holder != key]
        if conflicts:
            outside = dict.fromkeys(holder for _, holder in conflicts if holder not in inside)
            claimants = dict.fromkeys(one for pair in conflicts for one in pair if one in inside)
            constraint = constraint_name(stream, index)
            raise UniqueConflictError(
                f"stream {stream.name}: constraint {constraint} holds one of the values already",
                stream=stream.name,
                constraint=constraint,
                columns=index.columns,
                claimants=tuple(claimants),
                owners=tuple(outside),
            )
