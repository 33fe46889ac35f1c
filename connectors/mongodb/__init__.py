"""MongoDB 6.0 and later, replica sets, as a source: `BatchSource` and `ChangeSource` of one database.

Guarantees
- Reads are from the primary, of majority committed data, causally after the position they are given.
- A span is a range of the `_id` index in the server's own order, over all types of `_id`.
- Documents become rows and come back byte for byte, or are quarantined with a reason (`mapper`).
- Changes are keys from one change stream on the database, resumed from exactly what was handed out. Drops, renames and
  other DDL of a migrated collection stop it; an outrun oplog is reported, never skipped.

It cannot follow sharded clusters, standalone servers, views, time-series or capped collections, or collections with a
default collation; `findings` says so for each. It leaves nothing on the source but the collection `tranship_markers`,
and that only until `drop_markers`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tranship.connectors.mongodb.source import MongoSource
from tranship.plans.streams import Endpoint, Stream

if TYPE_CHECKING:
    from tranship.connectors.mongodb.profiler import MongoProfiler
    from tranship.connectors.protocols import BatchSource, ChangeSource
    from tranship.connectors.protocols.profiler import Profiler

__all__ = ["MongoSource", "connect"]

WORKER_MODULES = ("tranship.connectors.mongodb.source",)


def connect(
    endpoint: Endpoint,
    streams: Sequence[Stream],  # noqa: ARG001 - every connector is opened alike
) -> MongoSource:
    """Open a source; the server is first asked something by the first call. Raises `RefusedError` for a bad URI."""
    return MongoSource(endpoint)


def connect_profiler(endpoint: Endpoint) -> MongoProfiler:
    """Open a source to look what there is. Raises `RefusedError` for a bad URI."""
    from tranship.connectors.mongodb.profiler import MongoProfiler  # with numpy: nobody else needs it

    return MongoProfiler(endpoint)


if TYPE_CHECKING:

    def _satisfies(source: MongoSource, profiler: MongoProfiler) -> tuple[BatchSource, ChangeSource, Profiler]:
        return source, source, profiler
