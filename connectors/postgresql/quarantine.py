"""Quarantine as it is told to people, inside of the caller's transaction. The data plane's way to it: `aside`."""

from __future__ import annotations

from sqlalchemy import Connection, func, select

from tranship.connectors.batch import Quarantined
from tranship.connectors.postgresql.statetables import PREFIX, StateTables, digest, of
from tranship.connectors.protocols import Aside, Key, Scope
from tranship.plans.streams import Stream


class Quarantine:
    """The entries of one feed."""

    def __init__(self, connection: Connection, tables: StateTables, scope: Scope) -> None:
        self._connection = connection
        self._table = tables.quarantine
        self._scope = scope

    def page(self, stream: Stream, after: Key | None, limit: int) -> list[Aside]:
        """One page in key order, without documents."""
        table = self._table
        place = func.substr(table.c.key, 1, PREFIX)
        size = func.octet_length(table.c.document).label("size")
        query = select(table.c.key, table.c.path, table.c.reason, size).where(of(table, self._scope, stream))
        if after is not None:
            query = query.where(place >= after[:PREFIX], table.c.key > after)
        return [Aside(*row) for row in self._connection.execute(query.order_by(place, table.c.key).limit(limit))]

    def entry(self, stream: Stream, key: Key) -> Quarantined | None:
        """The entry of a key, with its document."""
        table = self._table
        columns = (table.c.key, table.c.path, table.c.reason, table.c.document)
        query = select(*columns).where(of(table, self._scope, stream), table.c.digest == digest(key))
        row = self._connection.execute(query).first()
        return None if row is None else Quarantined(*row)

    def counts(self) -> dict[str, int]:
        """How many there are, by stream that has some."""
        table = self._table
        query = select(table.c.stream, func.count().label("entries")).where(of(table, self._scope))
        return {row.stream: row.entries for row in self._connection.execute(query.group_by(table.c.stream))}
