"""What to know of the server and the database around a run's tables. Nothing here keeps a run from happening."""

from __future__ import annotations

import time
from collections.abc import Iterator

from sqlalchemy import Connection, text

from tranship.connectors import clocks
from tranship.connectors.postgresql.layout import quote
from tranship.connectors.protocols import Finding

BYTEWISE = ("C", "POSIX", "C.UTF-8", "C.utf8")
"""Locales that order texts as MongoDB does."""


def findings(connection: Connection) -> Iterator[Finding]:
    """All of it."""
    yield from clock(connection)
    yield from event_triggers(connection)
    yield from feedback(connection)
    yield from prepared(connection)
    yield from locale(connection)


def clock(connection: Connection) -> list[Finding]:
    """The server's clock against this machine's."""
    before = time.time()
    told = connection.execute(text("SELECT extract(epoch FROM clock_timestamp())::float8")).scalar_one()
    return clocks.finding("target.clock", "target", told, before, time.time())


def event_triggers(connection: Connection) -> Iterator[Finding]:
    """Those that act on what a run makes and drops."""
    query = "SELECT evtname FROM pg_event_trigger WHERE evtenabled <> 'D' AND evtevent <> 'login' ORDER BY 1"
    for name in connection.execute(text(query)).scalars():
        message = f"event trigger {quote(name)} acts on each table and index that a run makes or drops"
        hint = "see what it does: where it refuses or changes something, disable it for the run"
        yield Finding("target.event_trigger", "warning", message, hint)


def feedback(connection: Connection) -> Iterator[Finding]:
    """Whether the target's changes could be followed, as a feed back to the source would."""
    row = connection.execute(
        text(
            "SELECT current_setting('wal_level') AS wal_level, current_setting('max_replication_slots')::int AS slots, "
            "(SELECT count(*) FROM pg_replication_slots) AS used"
        )
    ).one()
    if row.wal_level != "logical":
        message = f"wal_level is {row.wal_level}: nothing can follow the target's changes, such as a feed back"
        yield Finding("target.wal_level", "info", message, "set wal_level = logical and restart, if you want one")
    elif row.used >= row.slots:
        message = f"all {row.slots} replication slots are in use: nothing more can follow the target's changes"
        yield Finding("target.slots", "info", message, "raise max_replication_slots, if you want a feed back")


def prepared(connection: Connection) -> Iterator[Finding]:
    """Transactions that were prepared and not ended. No session has them, so none can be ended for them; a slot that is
    made waits for those of all databases."""
    query = "SELECT count(*), extract(epoch FROM now() - min(prepared))::bigint FROM pg_prepared_xacts"
    count, oldest = connection.execute(text(query)).one()
    if count:
        message = (
            f"{count} prepared transactions have not been ended, the oldest for {oldest} s: they keep their locks, "
            "and no replication slot can be made before they are"
        )
        hint = "find out whose they are (`pg_prepared_xacts`), and COMMIT PREPARED or ROLLBACK PREPARED each"
        yield Finding("target.prepared", "warning", message, hint)


def locale(connection: Connection) -> Iterator[Finding]:
    """How the database orders texts where nothing else is said: MongoDB orders them by their bytes."""
    # The column is called `datlocale`, `daticulocale` before 17, and is not there before 15.
    query = (
        "SELECT coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale', datcollate) "
        "FROM pg_database AS d WHERE datname = current_database()"
    )
    name: str = connection.execute(text(query)).scalar_one()
    if name not in BYTEWISE:
        message = f"texts are ordered by the locale {name}, in MongoDB by their bytes: ORDER BY gives another order"
        hint = 'write ORDER BY … COLLATE "C" where the old order matters; keys are compared by bytes in any case'
        yield Finding("target.locale", "info", message, hint)
