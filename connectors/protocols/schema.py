"""The target's catalog, as far as phases need it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from tranship.connectors.protocols.forms import Finding, Key, Scope
from tranship.plans.streams import Stream


@runtime_checkable
class TargetSchema(Protocol):
    """What the phases need of the target's catalog. Calls are idempotent; only what this run made is ever dropped."""

    def identity(self) -> str:
        """Stable name of the server and database (not its address)."""

    def now(self) -> float:
        """The server's time, in seconds since 1970."""

    def findings(self, streams: Sequence[Stream], run: str) -> list[Finding]:
        """Reads only: reachability, version, privileges, names that are taken by something that is not the run's."""

    def may_write(self) -> list[Finding]:
        """Reads only, part of `findings`: what keeps every command from writing, also one that undoes."""

    def may_move(self, streams: Sequence[Stream], run: str) -> list[Finding]:
        """Reads only, part of `findings`: what keeps rows from being moved: rights, names that something else has which
        is not the run's, and what others have hung on the streams' tables."""

    def may_shadow(self) -> list[Finding]:
        """Reads only: why a dry run's tables would be seen by others than those who made them."""

    def shadows(self, plan: str) -> list[tuple[str, str, float]]:
        """Reads only: what dry runs of a plan have made and not removed: (state schema, schema of its tables, seconds
        since it was made)."""

    def create_tables(self, scope: Scope, streams: Sequence[Stream]) -> list[str]:
        """Create schema and tables with primary keys and note in the same transaction that this run owns them."""

    def table_differences(self, streams: Sequence[Stream]) -> list[str]:
        """What in the catalog differs from the plan; empty when equal."""

    def drop_tables(self, scope: Scope, streams: Sequence[Stream]) -> list[str]:
        """Drop what `create_tables` of this run made, the schema too if it made it and nothing else is in it."""

    def create_indexes(self, scope: Scope, streams: Sequence[Stream]) -> None:
        """Non-unique indexes, then ANALYZE."""

    def drop_indexes(self, scope: Scope, streams: Sequence[Stream]) -> None: ...

    def index_differences(self, streams: Sequence[Stream]) -> list[str]: ...

    def create_constraints(self, scope: Scope, streams: Sequence[Stream]) -> None:
        """What rows have to keep among themselves from now on, made while they change: child rows their parents, and
        unique columns, whose indexes are dropped and built again while correct data breaks them for a moment."""

    def drop_constraints(self, scope: Scope, streams: Sequence[Stream]) -> None: ...

    def constraint_differences(self, streams: Sequence[Stream]) -> list[str]: ...

    def dangling(self, stream: Stream) -> dict[str, int]:
        """Per referencing column, how many rows point at no row of the referenced stream."""

    def dangling_keys(self, scope: Scope, stream: Stream, limit: int) -> dict[str, list[tuple[str, Key, int]]]:
        """Per referencing column, up to `limit` of the keys that have no row: (referenced stream, key, rows that refer
        to it), those with most rows first."""

    def count(self, stream: Stream) -> int:
        """Rows of the root table."""

    def size(self, streams: Sequence[Stream]) -> int:
        """Bytes that the streams' tables take, with their indexes."""

    def close(self) -> None: ...
