"""What every finding is about, planted and taken away again: on real servers where they can be so, else by their reply.

A hazard is a generator: up to its `yield` it plants, behind it it mends.
"""

from __future__ import annotations

from tests.integration.hazards import documents, source, target
from tests.integration.hazards.world import Hazard, World

__all__ = ["BESIDE_A_RUN", "HAZARDS", "World"]

HAZARDS: dict[str, Hazard] = {
    "plan.changed": target.plan_changed,
    "source.unusable": source.unusable,
    "source.standalone": source.standalone,
    "source.sharded": source.sharded,
    "source.secondary": source.secondary,
    "source.version": source.old_source,
    "source.missing": source.no_collection,
    "source.markers": source.markers,
    "source.view": source.view,
    "source.timeseries": source.timeseries,
    "source.capped": source.capped,
    "source.collation": source.collation,
    "source.ttl": source.expiring,
    "source.clustered": source.clustered,
    "source.long_keys": source.long_key,
    "source.index": source.odd_index,
    "source.clock": source.source_clock,
    "source.oplog_short": source.short_oplog,
    "source.oplog_unknown": source.unknown_oplog,
    "source.unreadable": source.unreadable,
    "source.unwatchable": source.unwatchable,
    "source.rights_unknown": source.rights_unknown,
    "source.cluster_unknown": source.unknown_cluster,
    "source.unwritable": source.unwritable,
    "source.fence": source.fence_of_nobody,
    "target.restored": target.restored,
    "target.unreachable": target.unreachable,
    "target.pooler": target.pooler,
    "target.version": target.old_target,
    "target.encoding": target.encoding,
    "target.replication_role": target.replication_role,
    "target.read_only": target.read_only,
    "target.identity": target.identity,
    "target.terminate": target.terminate,
    "target.role": target.acting_role,
    "target.sessions": target.sessions,
    "target.privilege": target.privilege,
    "target.temporary": target.temporary,
    "target.foreign_key": target.foreign_key,
    "target.trigger": target.trigger,
    "target.rule": target.rule,
    "target.policy": target.policy,
    "target.view": target.target_view,
    "target.publication": target.publication,
    "target.event_trigger": target.event_trigger,
    "target.clock": target.target_clock,
    "target.wal_level": target.wal_level,
    "target.prepared": target.prepared,
    "target.slots": target.slots,
    "target.locale": target.locale,
    "target.name_taken": target.name_taken,
    "target.names": target.names,
    "target.state_taken": target.state_taken,
    "target.state_version": target.state_version,
    "target.index_entry": documents.index_entry,
    "data.off_type": documents.off_type,
    "data.nul": documents.nul,
    "data.misfit": documents.misfit,
    "data.never_filled": documents.never_filled,
    "data.quarantined": documents.quarantined,
    "data.unfit": documents.unfit,
    "data.duplicate": documents.duplicate,
    "data.dangling": documents.dangling,
}
"""Those that `check` finds."""

BESIDE_A_RUN = (
    "plan.changed",
    "target.foreign_key",
    "target.trigger",
    "target.rule",
    "target.policy",
    "target.view",
)
"""Those that there are only beside a run whose tables are there."""
