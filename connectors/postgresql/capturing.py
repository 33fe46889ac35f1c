"""What capture keeps beside dirty keys, inside of the caller's transaction: its position, and markers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from tranship.connectors.errors import ConnectorError
from tranship.connectors.postgresql.statetables import StateTables, of, place
from tranship.connectors.protocols import Changes, Position, Scope


class Captured:
    """Position and markers of one feed."""

    def __init__(self, connection: Connection, tables: StateTables, scope: Scope) -> None:
        self._connection = connection
        self._tables = tables
        self._scope = scope

    def start(self, position: Position) -> Position:
        """Keep the first position; returns the durable one."""
        table = self._tables.position
        # Only if absent: a second attempt, or a late one, must not move the position forward (I3).
        first = upsert(table).values(**place(self._scope), token=position.token).on_conflict_do_nothing()
        self._connection.execute(first)
        return Position(self._connection.execute(select(table.c.token).where(of(table, self._scope))).scalar_one())

    def position(self) -> Position | None:
        """The durable position."""
        table = self._tables.position
        token = self._connection.execute(select(table.c.token).where(of(table, self._scope))).scalar()
        return None if token is None else Position(token)

    def note_markers(self, names: Sequence[str]) -> None:
        """Note those that are new."""
        if names:
            rows = [{**place(self._scope), "name": name} for name in names]
            self._connection.execute(upsert(self._tables.marker).on_conflict_do_nothing(), rows)

    def move(self, changes: Changes) -> None:
        """The position behind what was kept; `ConnectorError` while nothing is captured."""
        now = func.clock_timestamp()
        kept = {"token": changes.position.token, "kept_at": now - timedelta(seconds=changes.behind_s)}
        if changes.keys:
            kept["changed_at"] = now
        self._move(kept)

    def restart(self, position: Position) -> None:
        """Another position, and no markers: on a source that was restored they are gone, and that is known by now."""
        now, marker = func.clock_timestamp(), self._tables.marker
        self._connection.execute(delete(marker).where(of(marker, self._scope)))
        self._move({"token": position.token, "kept_at": now, "changed_at": now})

    def _move(self, kept: dict[str, Any]) -> None:
        position = self._tables.position
        moved = update(position).where(of(position, self._scope)).values(**kept)
        if self._connection.execute(moved).rowcount != 1:
            raise ConnectorError(f"run {self._scope.run}: capture has not started or was stopped")

    def marker_seen(self, name: str) -> bool:
        """Whether it was noted."""
        table = self._tables.marker
        query = select(table.c.name).where(of(table, self._scope), table.c.name == name)
        return self._connection.execute(query).first() is not None

    def newest_marker(self, owner: str) -> str | None:
        """The name of the one of an owner that was noted last."""
        table = self._tables.marker
        own = select(table.c.name).where(of(table, self._scope), func.starts_with(table.c.name, f"{owner}."))
        name: str | None = self._connection.execute(own.order_by(table.c.kept_at.desc()).limit(1)).scalar()
        return name
