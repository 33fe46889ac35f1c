"""A process that follows a feed as a run does: keys and position durably together, then let go, then each dirty row is
read and kept. Killed anywhere and begun again, its mirror must become the table."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from tranship.connectors.postgresql import connect_target
from tranship.connectors.postgresql.decoding import connect_changes
from tranship.connectors.protocols import Changes, Position, Scope
from tranship.plans.streams import Endpoint, Stream

_TABLES = """
CREATE TABLE IF NOT EXISTS dirty (key BLOB PRIMARY KEY);
CREATE TABLE IF NOT EXISTS mirror (key BLOB PRIMARY KEY, id INTEGER, text TEXT);
CREATE TABLE IF NOT EXISTS position (one INTEGER PRIMARY KEY, token BLOB);
CREATE TABLE IF NOT EXISTS marker (name TEXT PRIMARY KEY);
"""


class Mirror:
    """What is kept, in a file."""

    def __init__(self, path: Path) -> None:
        self._store = sqlite3.connect(path, timeout=30)
        self._store.execute("PRAGMA journal_mode = WAL")
        self._store.execute("PRAGMA synchronous = FULL")
        self._store.executescript(_TABLES)

    def close(self) -> None:
        self._store.close()

    def begin(self, position: Position) -> None:
        with self._store:
            self._store.execute("INSERT OR IGNORE INTO position VALUES (1, ?)", (position.token,))

    def position(self) -> Position:
        return Position(self._store.execute("SELECT token FROM position").fetchone()[0])

    def keep(self, changes: Changes) -> None:
        with self._store:
            self._store.executemany("INSERT OR IGNORE INTO dirty VALUES (?)", [(key,) for _, key in changes.keys])
            self._store.executemany("INSERT OR IGNORE INTO marker VALUES (?)", [(name,) for name in changes.markers])
            self._store.execute("UPDATE position SET token = ?", (changes.position.token,))

    def dirty(self) -> list[bytes]:
        return [key for (key,) in self._store.execute("SELECT key FROM dirty")]

    def apply(self, keys: Sequence[bytes], rows: Sequence[dict[str, object]]) -> None:
        with self._store:
            for table in ("mirror", "dirty"):
                self._store.executemany(f"DELETE FROM {table} WHERE key = ?", [(key,) for key in keys])
            self._store.executemany("INSERT INTO mirror VALUES (:_key, :id, :text)", rows)

    def rows(self) -> list[tuple[int, str]]:
        return self._store.execute("SELECT id, text FROM mirror ORDER BY id").fetchall()

    def has(self, marker: str) -> bool:
        return self._store.execute("SELECT 1 FROM marker WHERE name = ?", (marker,)).fetchone() is not None


def follow(endpoint: Endpoint, stream: Stream, streams: Sequence[Stream], scope: Scope, path: Path) -> None:
    """Without end."""
    with (
        closing(Mirror(path)) as mirror,
        closing(connect_changes(endpoint, streams, scope.run)) as source,
        closing(connect_target(endpoint, streams, scope.reading)) as target,
    ):
        watch = source.changes([stream], mirror.position())
        for changes in watch:
            mirror.keep(changes)
            watch.confirm(changes.position)
            keys = mirror.dirty()
            mirror.apply(keys, target.read_keys(stream, keys).rows.to_pylist())
