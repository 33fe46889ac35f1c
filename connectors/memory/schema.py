"""The memory target's catalog."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence

from tranship.connectors.errors import NotOursError
from tranship.connectors.keys import KeyForm
from tranship.connectors.memory.indexes import constraint_name
from tranship.connectors.memory.rows import tables
from tranship.connectors.memory.state import Table, TargetState
from tranship.connectors.memory.store import MemoryStore
from tranship.connectors.protocols import READING, Feed, Finding, Key, Scope, TargetSchema
from tranship.plans.streams import Index, Stream


class MemorySchema:
    """`TargetSchema` over a `MemoryStore`. A table and its child tables are one entry of the catalog."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    def identity(self) -> str:
        return f"memory:{self._store.name}:target"

    def now(self) -> float:
        """This machine's."""
        return time.time()

    def findings(self, streams: Sequence[Stream], run: str) -> list[Finding]:
        return self.may_write() + self.may_move(streams, run)

    def may_write(self) -> list[Finding]:
        """Everybody may."""
        return []

    def may_move(self, streams: Sequence[Stream], run: str) -> list[Finding]:
        catalog = self._store.state.catalog
        taken = [s for s in streams if s.table in catalog and catalog[s.table].run != run]
        return [
            Finding("target.name_taken", "error", f"table {s.table} exists and is not this run's", "drop it", s.name)
            for s in taken
        ]

    def may_shadow(self) -> list[Finding]:
        """Nobody sees them."""
        return []

    def shadows(self, plan: str) -> list[tuple[str, str, float]]:  # noqa: ARG002
        """Nobody rehearses in memory."""
        return []

    def create_tables(self, scope: Scope, streams: Sequence[Stream]) -> list[str]:
        def work(state: TargetState) -> list[str]:
            made = []
            for stream in streams:
                known = state.catalog.setdefault(stream.table, Table(scope.run, stream))
                if known.run != scope.run:
                    raise NotOursError(f"table {stream.table} exists and was made by run {known.run}, not {scope.run}")
                if stream.table not in state.rows:
                    state.rows[stream.table] = {}
                    made += tables(stream)
            return made

        return self._store.transact("create_tables", scope, work)

    def table_differences(self, streams: Sequence[Stream]) -> list[str]:
        catalog = self._store.state.catalog
        missing = [f"table {s.table} is missing" for s in streams if s.table not in catalog]
        other = [
            f"table {s.table} has other columns or children than the plan"
            for s in streams
            if s.table in catalog and _shape(catalog[s.table].stream) != _shape(s)
        ]
        return missing + other

    def drop_tables(self, scope: Scope, streams: Sequence[Stream]) -> list[str]:
        def work(state: TargetState) -> list[str]:
            ours = [s for s in streams if s.table in state.catalog and state.catalog[s.table].run == scope.run]
            for stream in ours:
                del state.catalog[stream.table], state.rows[stream.table]
            names = {stream.table for stream in ours}
            state.indexes = {index for index in state.indexes if index[0] not in names}
            state.unique = {unique: values for unique, values in state.unique.items() if unique[0] not in names}
            return [name for stream in ours for name in tables(stream)]

        return self._store.transact("drop_tables", scope, work)

    def create_indexes(self, scope: Scope, streams: Sequence[Stream]) -> None:
        self._store.transact("create_indexes", scope, lambda state: state.indexes.update(_indexes(streams)))

    def drop_indexes(self, scope: Scope, streams: Sequence[Stream]) -> None:
        self._store.transact("drop_indexes", scope, lambda state: state.indexes.difference_update(_indexes(streams)))

    def index_differences(self, streams: Sequence[Stream]) -> list[str]:
        missing = _indexes(streams) - self._store.state.indexes
        return sorted(f"index of {table} on {', '.join(index.columns)} is missing" for table, index in missing)

    def create_constraints(self, scope: Scope, streams: Sequence[Stream]) -> None:
        """Raises `UniqueConflictError` while two rows hold one value; then none of the streams' new ones is kept."""

        def work(state: TargetState) -> None:
            for stream, index in _unique(streams):
                if (stream.table, index) not in state.unique:
                    state.build_unique(stream, index)

        self._store.transact("create_constraints", scope, work)

    def drop_constraints(self, scope: Scope, streams: Sequence[Stream]) -> None:
        def work(state: TargetState) -> None:
            for stream, index in _unique(streams):
                state.unique.pop((stream.table, index), None)

        self._store.transact("drop_constraints", scope, work)

    def constraint_differences(self, streams: Sequence[Stream]) -> list[str]:
        built = self._store.state.unique
        return [
            f"unique constraint {constraint_name(stream, index)} is missing"
            for stream, index in _unique(streams)
            if (stream.table, index) not in built
        ]

    def dangling(self, stream: Stream) -> dict[str, int]:
        found = self.dangling_keys(Scope("", Feed.FORWARD, READING), stream, sys.maxsize)
        return {name: sum(rows for _, _, rows in keys) for name, keys in found.items()}

    def dangling_keys(self, scope: Scope, stream: Stream, limit: int) -> dict[str, list[tuple[str, Key, int]]]:  # noqa: ARG002
        state = self._store.state
        by_name = {table.stream.name: table.stream for table in state.catalog.values()}
        found = {}
        for column in stream.columns:
            if column.references is None:
                continue
            referenced = by_name[column.references.stream]
            known = {row[referenced.key[0].name] for row in state.table(referenced).values()}
            values = (row[column.name] for row in state.table(stream).values())
            missing = Counter(value for value in values if value is not None and value not in known)
            encode = KeyForm(referenced.key).encode
            found[column.name] = [(referenced.name, encode((v,)), rows) for v, rows in missing.most_common(limit)]
        return found

    def size(self, streams: Sequence[Stream]) -> int:  # noqa: ARG002
        """None on any disk."""
        return 0

    def count(self, stream: Stream) -> int:
        return len(self._store.state.table(stream))

    def close(self) -> None:
        """Nothing to release; the store lives on."""


def _shape(stream: Stream) -> tuple[object, ...]:
    return stream.key, stream.columns, stream.children, stream.rest_column


def _indexes(streams: Sequence[Stream]) -> set[tuple[str, Index]]:
    return {(stream.table, index) for stream in streams for index in stream.plain_indexes}


def _unique(streams: Sequence[Stream]) -> list[tuple[Stream, Index]]:
    return [(stream, index) for stream in streams for index in stream.unique]


def _implements(schema: MemorySchema) -> TargetSchema:
    return schema
