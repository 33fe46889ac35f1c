"""What keeps a database's changes from being followed. Reads only. Sentences, as long as no run asks for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import Connection, text

from tranship.connectors.postgresql.decoding.naming import feed_name
from tranship.connectors.postgresql.decoding.tables import all_tables
from tranship.plans.streams import Endpoint, Stream

_SERVER = """
SELECT current_setting('wal_level') AS wal_level, current_setting('max_replication_slots')::int AS most,
       (SELECT count(*) FROM pg_replication_slots) AS used, current_database() AS database,
       (SELECT rolsuper OR rolreplication FROM pg_roles WHERE rolname = current_user) AS replicates,
       has_database_privilege(current_database(), 'CREATE') AS creates, pg_is_in_recovery() AS standby
"""

_STRANGE = """
SELECT c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = :schema AND c.relname = ANY(:names) AND NOT pg_has_role(c.relowner, 'USAGE') ORDER BY 1
"""


def objections(connection: Connection, endpoint: Endpoint, streams: Sequence[Stream], run: str) -> list[str]:
    """One sentence for each thing that a person has to change; none where all is well."""
    return list(_all(connection, endpoint, streams, run))


def _all(connection: Connection, endpoint: Endpoint, streams: Sequence[Stream], run: str) -> Iterator[str]:
    row = connection.execute(text(_SERVER)).one()
    if row.standby:
        yield "the server is a standby: changes are followed on the primary"
    if row.wal_level != "logical":
        yield f"wal_level is {row.wal_level}: set it to logical and restart the server"
    elif row.used >= row.most and not _has_slot(connection, feed_name(row.database, endpoint.state_schema, run)):
        yield f"all {row.most} replication slots are in use: raise max_replication_slots and restart the server"
    if not row.replicates:
        yield "tranship's role has not the attribute REPLICATION: ALTER ROLE … REPLICATION"
    if not row.creates:
        yield "tranship's role may not make a publication: GRANT CREATE on the database"
    names = [table.table for table in all_tables(streams, endpoint.schema)]
    for name in connection.execute(text(_STRANGE), {"schema": endpoint.schema, "names": names}).scalars():
        yield f"table {name} belongs to another role, and only its owner may publish it: make tranship's role a member"


def _has_slot(connection: Connection, name: str) -> bool:
    found = text("SELECT 1 FROM pg_replication_slots WHERE slot_name = :name")
    return connection.execute(found, {"name": name}).first() is not None
