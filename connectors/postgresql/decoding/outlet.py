"""What has to be on the server before a run's changes can be followed: publication, replication slot, markers' table.

Made under the run's epoch, before the fence: making a slot waits for every open transaction that writes, in any
database of the cluster. Each is noted as the run's before it is there, or in the transaction that makes it; only what
is noted is ever used, changed or dropped (`rules.md` C8). Every step may follow a crash in any other.

**The order**: tables get their identity and the publication is there before the slot. The server looks for both as
they were at the time of each change, so a change between slot and publication could never be read. On the way back the
slot goes first, because it is what costs: it holds back history.

**Long keys.** A key of which PostgreSQL keeps the digest is not part of the primary key, by which changes name their
rows. Its tables get REPLICA IDENTITY FULL, so that the old row is sent whole; and PostgreSQL 18 refuses updates and
deletes of them (42P10) unless the generated column is published too. Without this, 15 sends deletes without a key.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, delete, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError

from tranship.connectors.errors import NotOursError, TransientError
from tranship.connectors.postgresql.catalog import ddl, relation_exists
from tranship.connectors.postgresql.decoding.health import LOST, PLUGIN
from tranship.connectors.postgresql.decoding.naming import feed_name
from tranship.connectors.postgresql.decoding.tables import all_tables
from tranship.connectors.postgresql.errors import LockTimeoutError
from tranship.connectors.postgresql.holders import holders
from tranship.connectors.postgresql.layout import Layout, literal, quote
from tranship.connectors.postgresql.sessions import ControlSessions
from tranship.connectors.postgresql.statetables import state_tables
from tranship.connectors.postgresql.tables import LOCK_TIMEOUT
from tranship.connectors.protocols import Scope
from tranship.plans.streams import Endpoint, Stream

PUBLICATION, SLOT, MARKERS = "publication", "slot", "markers"
IDENTITY = "identity "
"""Of notes: what was made. A table whose identity was changed is noted with what that was, as SQL says it."""

GENERATED_FROM = 18
FAILOVER_FROM = 17
"""The versions from which on generated columns can be published, and slots follow to a standby."""

_SLOT_IS = (
    "SELECT plugin, database = current_database() AS here, wal_status, active_pid FROM pg_replication_slots "
    "WHERE slot_name = :name"
)
_IDENTITY = """
SELECT c.relreplident::text AS kind, (SELECT quote_ident(i.relname) FROM pg_index AS x JOIN pg_class AS i
       ON i.oid = x.indexrelid WHERE x.indrelid = c.oid AND x.indisreplident) AS index
FROM pg_class AS c WHERE c.oid = to_regclass(:name)
"""
_CLAUSES = {"d": "DEFAULT", "n": "NOTHING", "f": "FULL"}


class Outlet:
    """Publication, slot and table of markers of runs in one state schema. Not for several threads."""

    def __init__(self, endpoint: Endpoint, streams: Sequence[Stream]) -> None:
        self._endpoint = endpoint
        self._layouts = all_tables(streams, endpoint.schema)
        self._tables = state_tables(endpoint.state_schema)
        self._sessions = ControlSessions(endpoint)

    def close(self) -> None:
        self._sessions.close()

    def create(self, scope: Scope, limit_s: float) -> None:
        """Make what is missing of it. Idempotent; a slot that the server gave up is made anew, and positions from
        before it are lost.

        Raises `NotOursError` where something has the name that this run did not make, and `TransientError` when the
        slot was not there in time, because transactions stayed open: then no slot is left.
        """
        with self._sessions.write(scope) as connection:
            name = self._name(connection, scope)
            self._check_ours(connection, scope, name)
            connection.execute(text(LOCK_TIMEOUT))
            self._create_markers(connection, scope, name)
            for table in self._layouts:
                self._identify(connection, scope, table)
            self._publish(connection, scope, name)
            self._note(connection, scope, SLOT, name)
        self._create_slot(scope, name, limit_s)

    def drop(self, scope: Scope, limit_s: float) -> None:
        """Take all of it away, and give tables the identity that they had. Idempotent; nothing else is touched."""
        with self._sessions.read() as connection:
            name = self._name(connection, scope)
            noted = self._noted(connection, scope, SLOT)
        if name in noted:
            self._drop_slot(scope, name, limit_s)
        with self._sessions.write(scope) as connection:
            connection.execute(text(LOCK_TIMEOUT))
            self._unpublish(connection, scope)
            self._restore(connection, scope)
            for table in self._noted(connection, scope, MARKERS):
                ddl(connection, f"DROP TABLE IF EXISTS {table}")
            owned = self._tables.owned
            ours = owned.c.kind.in_((PUBLICATION, SLOT, MARKERS)) | owned.c.kind.startswith(IDENTITY)
            connection.execute(delete(owned).where(owned.c.run == scope.run, ours))

    # --- notes --------------------------------------------------------------------------------------------------------

    def _name(self, connection: Connection, scope: Scope) -> str:
        database: str = connection.execute(text("SELECT current_database()")).scalar_one()
        return feed_name(database, self._endpoint.state_schema, scope.run)

    def _noted(self, connection: Connection, scope: Scope, kind: str) -> dict[str, int | None]:
        owned = self._tables.owned
        found = select(owned.c.name, owned.c.oid).where(owned.c.run == scope.run, owned.c.kind == kind)
        return {row.name: row.oid for row in connection.execute(found)}

    def _note(self, connection: Connection, scope: Scope, kind: str, name: str, oid: int | None = None) -> None:
        noted = insert(self._tables.owned).values(run=scope.run, kind=kind, name=name, oid=oid)
        connection.execute(
            noted.on_conflict_do_update(index_elements=["run", "kind", "name"], set_={"oid": noted.excluded.oid})
        )

    def _check_ours(self, connection: Connection, scope: Scope, name: str) -> None:
        publication = connection.execute(
            text("SELECT oid FROM pg_publication WHERE pubname = :name"), {"name": name}
        ).scalar()
        if publication is not None and publication not in self._noted(connection, scope, PUBLICATION).values():
            raise _not_ours("publication", name)
        slot = connection.execute(text(_SLOT_IS), {"name": name}).first()
        if slot is not None and (
            name not in self._noted(connection, scope, SLOT) or slot.plugin != PLUGIN or not slot.here
        ):
            raise _not_ours("replication slot", name)
        table = markers_table(self._endpoint, name)
        if relation_exists(connection, table) and table not in self._noted(connection, scope, MARKERS):
            raise _not_ours("table", table)

    # --- tables and publication ---------------------------------------------------------------------------------------

    def _create_markers(self, connection: Connection, scope: Scope, name: str) -> None:
        table = markers_table(self._endpoint, name)
        ddl(
            connection,
            f"CREATE TABLE IF NOT EXISTS {table} "
            '(name text COLLATE "C" PRIMARY KEY, written bigint NOT NULL DEFAULT 1)',
        )
        self._note(connection, scope, MARKERS, table)

    def _identify(self, connection: Connection, scope: Scope, table: Layout) -> None:
        found = connection.execute(text(_IDENTITY), {"name": table.name}).one()
        wanted = "f" if table.is_long else "d"
        if found.kind in (wanted, "f"):
            return
        before = _CLAUSES.get(found.kind) or f"USING INDEX {found.index}"
        oid = connection.execute(text("SELECT to_regclass(:name)::oid"), {"name": table.name}).scalar()
        ddl(connection, f"ALTER TABLE {table.name} REPLICA IDENTITY {_CLAUSES[wanted]}")
        self._note(connection, scope, IDENTITY + before, table.name, oid)

    def _restore(self, connection: Connection, scope: Scope) -> None:
        """Of tables that are still there, under whatever name."""
        owned = self._tables.owned
        changed = select(owned.c.kind, owned.c.oid).where(owned.c.run == scope.run, owned.c.kind.startswith(IDENTITY))
        named = text(
            "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class AS c "
            "JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = :oid"
        )
        for row in connection.execute(changed).all():
            name = connection.execute(named, {"oid": row.oid}).scalar()
            if name is not None:
                ddl(connection, f"ALTER TABLE {name} REPLICA IDENTITY {row.kind.removeprefix(IDENTITY)}")

    def _publish(self, connection: Connection, scope: Scope, name: str) -> None:
        tables = ", ".join((markers_table(self._endpoint, name), *(table.name for table in self._layouts)))
        found = text("SELECT oid FROM pg_publication WHERE pubname = :name")
        if connection.execute(found, {"name": name}).scalar() is not None:
            ddl(connection, f"ALTER PUBLICATION {quote(name)} SET TABLE {tables}")
            return
        options = "publish = 'insert, update, delete, truncate'"
        if _version(connection) >= GENERATED_FROM:
            options += ", publish_generated_columns = stored"
        ddl(connection, f"CREATE PUBLICATION {quote(name)} FOR TABLE {tables} WITH ({options})")
        self._note(connection, scope, PUBLICATION, name, connection.execute(found, {"name": name}).scalar_one())

    def _unpublish(self, connection: Connection, scope: Scope) -> None:
        named = text("SELECT quote_ident(pubname) FROM pg_publication WHERE oid = :oid")
        for oid in self._noted(connection, scope, PUBLICATION).values():
            name = connection.execute(named, {"oid": oid}).scalar()
            if name is not None:
                ddl(connection, f"DROP PUBLICATION {name}")

    # --- the slot -----------------------------------------------------------------------------------------------------

    def _create_slot(self, scope: Scope, name: str, limit_s: float) -> None:
        with self._sessions.plain(scope) as connection:
            found = connection.execute(text(_SLOT_IS), {"name": name}).first()
            if found is not None and found.wal_status != LOST:
                return
            if found is not None:
                ddl(connection, f"SELECT pg_drop_replication_slot({literal(name)})")
            arguments = f"{literal(name)}, '{PLUGIN}'"
            if _version(connection) >= FAILOVER_FROM:
                arguments += ", failover => true"
            # A statement of its own: its session may have written nothing before. In time, or not at all: who dies here
            # leaves the server waiting that long, and no slot.
            ddl(connection, f"SET statement_timeout = {round(limit_s * 1000)}")
            try:
                ddl(connection, f"SELECT pg_create_logical_replication_slot({arguments})")
            except DBAPIError as error:
                raise self._late(error, limit_s) from None

    def _late(self, error: DBAPIError, limit_s: float) -> Exception:
        if getattr(error.orig, "sqlstate", "") != "57014":
            return error
        with self._sessions.read() as connection:
            found = holders(connection, (self._endpoint.schema, self._endpoint.state_schema))
        return TransientError(
            f"no replication slot could be made within {limit_s:g} s: that waits until every transaction that writes, "
            "in any database of the server, has ended, also prepared ones. Nothing is left of it"
            f"{'; ' if found else ''}{found}"
        )

    def _drop_slot(self, scope: Scope, name: str, limit_s: float) -> None:
        """A session of ours that was ended a moment ago may still hold it."""
        with self._sessions.plain(scope) as connection:
            found = connection.execute(text(_SLOT_IS), {"name": name}).first()
            if found is None or found.plugin != PLUGIN or not found.here:
                return
            ddl(connection, f"SET statement_timeout = {round(limit_s * 1000)}")
            try:
                ddl(connection, _DROP.format(name=literal(name), limit_s=limit_s))
            except DBAPIError as error:
                if getattr(error.orig, "sqlstate", "") != "55006":
                    raise
                raise LockTimeoutError(f"the replication slot {name} is in use by process {found.active_pid}") from None


_DROP = """
DO $$ BEGIN
  FOR i IN 1..ceil({limit_s} * 20) LOOP
    BEGIN
      IF EXISTS (SELECT FROM pg_catalog.pg_replication_slots WHERE slot_name = {name}) THEN
        PERFORM pg_catalog.pg_drop_replication_slot({name});
      END IF;
      RETURN;
    EXCEPTION WHEN object_in_use THEN
      PERFORM pg_catalog.pg_sleep(0.05);
    END;
  END LOOP;
  PERFORM pg_catalog.pg_drop_replication_slot({name});
END $$
"""


def markers_table(endpoint: Endpoint, name: str) -> str:
    """The quoted name of the table that markers are put into."""
    return f"{quote(endpoint.state_schema)}.{quote(name)}"


def _version(connection: Connection) -> int:
    version: int = connection.execute(text("SELECT current_setting('server_version_num')::int / 10000")).scalar_one()
    return version


def _not_ours(what: str, name: str) -> NotOursError:
    return NotOursError(f"there is a {what} {name} that this run did not make. Nothing was changed. Remove it")
