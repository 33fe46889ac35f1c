"""PostgreSQL as a change source, by logical decoding with `pgoutput`: for the reverse feed of a run (`rules.md` I6).

Versions: 14 and later, with `wal_level = logical`. Roles: change source of the tables that the run made.

Guarantees:
- Every committed change of a published row is given as the key of its root, at least once, in the order of commits, and
  only once a read that begins then sees it.
- What was not confirmed is kept by the server, across its crashes and ours.
- Whatever may have lost a change is an error: `PositionLostError` where history is gone, `SourceChangedError` where a
  change does not say which rows it is about (TRUNCATE, other columns, another replica identity, what is not known).
- Nothing is left on the server when the outlet is dropped, and nothing of others is touched.

Cannot:
- Notice a column that was added before the next change of its table.
- Bound what the server holds back: `health` tells how much that is, and when it ends.
- Follow a failover to a standby that has no copy of the slot (before PostgreSQL 17 none has).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tranship.plans.streams import Endpoint, Stream

if TYPE_CHECKING:
    from tranship.connectors.postgresql.decoding.health import Health
    from tranship.connectors.postgresql.decoding.outlet import Outlet
    from tranship.connectors.postgresql.decoding.source import PostgresChanges


def connect_changes(endpoint: Endpoint, streams: Sequence[Stream], run: str) -> PostgresChanges:
    """The changes of a run's tables; connects when it is first used. `streams`: all of the run's plan."""
    from tranship.connectors.postgresql.decoding.source import PostgresChanges

    return PostgresChanges(endpoint, streams, run)


def connect_outlet(endpoint: Endpoint, streams: Sequence[Stream]) -> Outlet:
    """What makes publication and slot, and takes them away; connects when it is first used."""
    from tranship.connectors.postgresql.decoding.outlet import Outlet

    return Outlet(endpoint, streams)


def feed_health(endpoint: Endpoint, run: str) -> Health:
    """Whether the way back is there: how the run's slot stands."""
    from tranship.connectors.postgresql.decoding.health import health

    return health(endpoint, run)


__all__ = ["connect_changes", "connect_outlet", "feed_health"]
