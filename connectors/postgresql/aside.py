"""Quarantine entries through the data plane's session: kept and replaced with the rows, read back beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from tranship.connectors.batch import Quarantined
from tranship.connectors.pages import PageSize
from tranship.connectors.postgresql.datasessions import DataSession, many, one, state_name
from tranship.connectors.postgresql.statetables import PREFIX, digest
from tranship.connectors.protocols import Key, Scope, Span
from tranship.plans.streams import Stream

_MOST_ENTRIES = 10_000


class Entries:
    """The quarantine entries of one run and feed. All calls but `within` are part of the caller's transaction."""

    def __init__(self, session: DataSession, state_schema: str, scope: Scope) -> None:
        self._session = session
        self._schema = state_schema
        self._name = state_name(state_schema, "quarantine")
        self._scope = scope

    def keep(self, stream: Stream, entries: Sequence[Quarantined]) -> None:
        """Add entries of keys that have none."""
        if not entries:
            return
        columns: dict[str, pa.Array] = {
            "run": pa.array([self._scope.run] * len(entries)),
            "feed": pa.array([self._scope.feed.value] * len(entries), pa.string()),
            "stream": pa.array([stream.name] * len(entries)),
            "digest": pa.array([digest(entry.key) for entry in entries]),
            "key": pa.array([entry.key for entry in entries]),
            "path": pa.array([entry.path for entry in entries]),
            "reason": pa.array([entry.reason for entry in entries]),
            "document": pa.array([entry.document for entry in entries]),
        }
        self._session.append(self._schema, "quarantine", pa.record_batch(columns))

    def replace(self, stream: Stream, keys: Sequence[Key], entries: Sequence[Quarantined]) -> None:
        """Make the entries of the keys the given ones."""
        self._session.run(
            f"DELETE FROM {self._name} WHERE {_MINE} AND digest = ANY($4::bytea[])",
            [*self._place(stream), _digests(keys)],
        )
        self.keep(stream, entries)

    def among(self, stream: Stream, keys: Sequence[Key]) -> tuple[Quarantined, ...]:
        """The entries of the given keys, in key order."""
        found = self._session.run(
            f"SELECT {_COLUMNS} FROM {self._name} WHERE {_MINE} AND digest = ANY($4::bytea[]) ORDER BY key",
            [*self._place(stream), _digests(keys)],
        )
        return _entries(found)

    def within(self, stream: Stream, span: Span) -> Iterator[tuple[Quarantined, ...]]:
        """The entries of a span in key order, page by page, each page a transaction of its own; no page is empty."""
        above, comparison = span, ">="
        page = PageSize(_MOST_ENTRIES)
        while True:
            asked = page.items
            condition, parameters = _bounds(above, comparison)
            with self._session.read():
                found = self._session.run(
                    f"SELECT {_COLUMNS} FROM {self._name} WHERE {_MINE} {condition} "
                    f"ORDER BY {_BEGINNING}, key LIMIT {asked}",
                    [*self._place(stream), *parameters],
                )
            if found.num_rows:
                yield _entries(found)
            if found.num_rows < asked:
                return
            above, comparison = Span(found.column("key")[-1].as_py(), span.upper), ">"
            page.learn(asked, found.nbytes)

    def _place(self, stream: Stream) -> list[pa.Array]:
        """The parameters of `_MINE`."""
        scope = self._scope
        return [one(scope.run, pa.string()), one(scope.feed, pa.string()), one(stream.name, pa.string())]


_COLUMNS = "key, path, reason, document"
_MINE = "run = $1 AND feed = $2 AND stream = $3"
_BEGINNING = f"substr(key, 1, {PREFIX})"


def _bounds(span: Span, comparison: str) -> tuple[str, list[pa.Array]]:
    """The conditions that keys are in a span, the beginnings for the index first, and their parameters from $4 on."""
    conditions: list[str] = []
    parameters: list[pa.Array] = []
    for key, whole, beginning in ((span.lower, comparison, ">="), (span.upper, "<", "<=")):
        if key is not None:
            place = 4 + len(parameters)
            conditions.append(f"AND {_BEGINNING} {beginning} ${place} AND key {whole} ${place + 1}")
            parameters += [one(key[:PREFIX], pa.binary()), one(key, pa.binary())]
    return " ".join(conditions), parameters


def _digests(keys: Sequence[Key]) -> pa.Array:
    return many([digest(key) for key in keys], pa.binary())


def _entries(found: pa.Table) -> tuple[Quarantined, ...]:
    return tuple(Quarantined(**row) for row in found.to_pylist())
