"""Whether the way back is there: how the replication slot of a run stands (`rules.md` E8). Reads only.

For `status`, which must not hide that a rollback is unavailable.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import Literal

from tranship.connectors.postgresql.connections import connect
from tranship.connectors.postgresql.decoding.naming import feed_name
from tranship.connectors.postgresql.errors import translating
from tranship.connectors.postgresql.servers import server_of
from tranship.plans.streams import Endpoint

PLUGIN = "pgoutput"
LOST = "lost"
UNAVAILABLE = "Rollback unavailable: changes may be missing, so the way back cannot be taken any more"

ENDANGERED_SHARE = 0.25
"""Of `max_slot_wal_keep_size`: what is left of it when the slot counts as endangered."""

_HEALTH = """
SELECT s.plugin, s.database = current_database() AS here, s.wal_status, s.safe_wal_size,
       (SELECT setting::bigint * 1048576 FROM pg_settings WHERE name = 'max_slot_wal_keep_size') AS keeps,
       pg_wal_lsn_diff(pg_current_wal_insert_lsn(), s.restart_lsn)::bigint AS held
FROM pg_replication_slots AS s WHERE s.slot_name = %s
"""


@dataclass(frozen=True)
class Health:
    """`left`: how many bytes more may be written before the server gives the slot up; None where it never does, so that
    the disk is the limit. `held`: how many bytes the slot holds back."""

    state: Literal["ok", "endangered", "lost"]
    reason: str = ""
    left: int | None = None
    held: int = 0


def health(endpoint: Endpoint, run: str) -> Health:
    """How the slot of a run stands now."""
    with translating(server_of(endpoint)), closing(connect(endpoint, autocommit=True)) as session:
        name = feed_name(session.info.dbname, endpoint.state_schema, run)
        row = session.execute(_HEALTH, (name,)).fetchone()
    if row is None:
        return _lost(f"there is no replication slot {name}")
    plugin, here, status, left, keeps, held = row
    if plugin != PLUGIN or not here:
        return _lost(f"the replication slot {name} is another one than was made for this run")
    if status == LOST or held is None:
        return _lost(f"the server gave up the replication slot {name}: it held back more than max_slot_wal_keep_size")
    left = None if left is None else max(0, int(left))
    if status == "unreserved" or (left is not None and left < ENDANGERED_SHARE * keeps):
        reason = f"the replication slot {name} holds back {held} bytes; it is given up after {left or 0} more"
        return Health("endangered", reason, left or 0, held)
    return Health("ok", "", left, held)


def _lost(reason: str) -> Health:
    return Health("lost", f"{reason}. {UNAVAILABLE}", 0)
