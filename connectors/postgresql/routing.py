"""Routing records in a state schema: a row per run, judged by PostgreSQL's clock."""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, Table, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from tranship.connectors.postgresql import routes
from tranship.connectors.postgresql.connections import engine
from tranship.connectors.postgresql.servers import server_of
from tranship.connectors.postgresql.sessions import transaction
from tranship.connectors.postgresql.statetables import state_tables
from tranship.connectors.protocols import LiveRouter, Opening, Owner, RecordStore, Routing, RoutingRecord
from tranship.plans.streams import Endpoint


class PostgresRecords:
    """`RecordStore`. No epoch guards a swap: that it compares state and version does (`rules.md` J0)."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._tables = state_tables(endpoint.state_schema)
        self._table = self._tables.route
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
        deadline: float | None = None,
        in_time: bool = False,
    ) -> bool:
        table, now = self._table, func.clock_timestamp()
        which = (table.c.id == id) & (table.c.state == old.state.value) & (table.c.version == old.version)
        if in_time:
            which &= table.c.deadline > now
        moment = None if deadline is None else datetime.fromtimestamp(deadline, UTC)
        if moment is not None:
            which &= now < moment
        change = update(table).where(which).values(state=new.state.value, version=new.version, deadline=moment)
        with self._transaction() as connection:
            routes.lock(connection, self._tables, id)
            return connection.execute(change).rowcount == 1

    def now(self) -> float:
        with self._transaction() as connection:
            return float(connection.execute(select(func.extract("epoch", func.clock_timestamp()))).scalar_one())

    def hasten(self, id: str, poll_s: float | None) -> None:  # noqa: A002
        poll_ms = None if poll_s is None else round(poll_s * 1000)
        with self._transaction() as connection:
            connection.execute(update(self._table).where(self._table.c.id == id).values(poll_ms=poll_ms))

    def routers(self, plan: str) -> list[LiveRouter]:
        router = self._tables.router
        left = func.extract("epoch", router.c.until - func.clock_timestamp()).label("left_s")
        living = select(router, left).where(router.c.plan == plan, router.c.until > func.clock_timestamp())
        with self._transaction() as connection:
            return [_router(row) for row in connection.execute(living.order_by(router.c.instance))]

    def records(self) -> list[tuple[Owner, RoutingRecord]]:
        with self._transaction() as connection:
            rows = connection.execute(self._some()).all()
        return [(_owner(row), _record(row)) for row in rows]

    def forget(self, id: str) -> None:  # noqa: A002
        with self._transaction() as connection:
            connection.execute(delete(self._table).where(self._table.c.id == id))

    def _some(self) -> Any:
        left = func.extract("epoch", self._table.c.deadline - func.clock_timestamp())
        return select(self._table, left.label("left_s"))

    def _transaction(self) -> AbstractContextManager[Connection]:
        return transaction(self._engine, self._server)


def opened(connection: Connection, table: Table, opening: Opening) -> bool:
    """Make a record ready in the caller's transaction, if it is not yet. Whether it is."""
    before, after = opening.before, opening.after
    which = (table.c.id == opening.id) & (table.c.state == before.state.value) & (table.c.version == before.version)
    change = update(table).where(which).values(state=after.state.value, version=after.version, deadline=None)
    if connection.execute(change).rowcount == 1:
        return True
    found = connection.execute(select(table.c.state, table.c.version).where(table.c.id == opening.id)).first()
    return found is not None and (found.state, found.version) == (after.state.value, after.version)


def _record(row: Row[Any]) -> RoutingRecord:
    return RoutingRecord(Routing(row.state), row.version, None if row.left_s is None else float(row.left_s))


def _owner(row: Row[Any]) -> Owner:
    return Owner(row.id, row.run, row.target, row.state_schema, row.plan)


def _router(row: Row[Any]) -> LiveRouter:
    run, version = row.acknowledged_run, row.acknowledged_version
    return LiveRouter(row.instance, float(row.left_s), None if run is None else (run, version))


def _implements(records: PostgresRecords) -> RecordStore:
    return records
