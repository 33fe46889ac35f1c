"""Routing records in a state schema: a row per run, judged by PostgreSQL's clock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Row, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from tranship.connectors.postgresql.connections import engine
from tranship.connectors.postgresql.errors import committing, translating
from tranship.connectors.postgresql.servers import server_of
from tranship.connectors.postgresql.statetables import state_tables
from tranship.connectors.protocols import Owner, RecordStore, Routing, RoutingRecord
from tranship.plans.streams import Endpoint


class PostgresRecords:
    """`RecordStore`. No epoch guards a swap: that it compares state and version does (`rules.md` J0)."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._table = state_tables(endpoint.state_schema).route
        self._engine = engine(endpoint)
        self._server = server_of(endpoint)

    def close(self) -> None:
        """End all sessions."""
        self._engine.dispose()

    def begin(self, owner: Owner, first: RoutingRecord) -> RoutingRecord:
        row = {**vars(owner), "state": first.state.value, "version": first.version}
        with self._transaction() as connection:
            connection.execute(insert(self._table).values(row).on_conflict_do_nothing())
            found = connection.execute(self._some().where(self._table.c.id == owner.id)).one()
        return _record(found)

    def read(self, id: str) -> RoutingRecord | None:  # noqa: A002
        with self._transaction() as connection:
            found = connection.execute(self._some().where(self._table.c.id == id)).first()
        return None if found is None else _record(found)

    def swap(
        self,
        id: str,  # noqa: A002
        old: RoutingRecord,
        new: RoutingRecord,
        *,
        lasts_s: float | None = None,
        in_time: bool = False,
    ) -> bool:
        table, now = self._table, func.clock_timestamp()
        which = (table.c.id == id) & (table.c.state == old.state.value) & (table.c.version == old.version)
        if in_time:
            which &= table.c.deadline > now
        deadline = None if lasts_s is None else now + timedelta(seconds=lasts_s)
        change = update(table).where(which).values(state=new.state.value, version=new.version, deadline=deadline)
        with self._transaction() as connection:
            return connection.execute(change).rowcount == 1

    def records(self) -> list[tuple[Owner, RoutingRecord]]:
        with self._transaction() as connection:
            rows = connection.execute(self._some()).all()
        return [(Owner(row.id, row.run, row.target, row.state_schema), _record(row)) for row in rows]

    def forget(self, id: str) -> None:  # noqa: A002
        with self._transaction() as connection:
            connection.execute(delete(self._table).where(self._table.c.id == id))

    def _some(self) -> Any:
        left = func.extract("epoch", self._table.c.deadline - func.clock_timestamp())
        return select(self._table, left.label("left_s"))

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with translating(self._server), self._engine.connect() as connection:
            transaction = connection.begin()
            try:
                yield connection
            except BaseException:
                transaction.rollback()
                raise
            with committing(self._server):
                transaction.commit()


def _record(row: Row[Any]) -> RoutingRecord:
    return RoutingRecord(Routing(row.state), row.version, None if row.left_s is None else float(row.left_s))


def _implements(records: PostgresRecords) -> RecordStore:
    return records
