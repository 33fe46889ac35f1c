"""What findings mean, and what to do about them. `docs/findings.md` is made of it."""

from __future__ import annotations

from collections.abc import Mapping

from tranship.orchestrator.reports.explanation import Explanation

FINDINGS: Mapping[str, Explanation] = {
    "plan.changed": Explanation(
        "the plan's run, which has not ended, was started with another meaning",
        "put the plan back as it was, to go on or to roll the run back; `tranship history` says with "
        "which plan it began",
    ),
    "source.unusable": Explanation(
        "no answer (the message says what is known of why: TLS, host names, access lists), bad credentials, bad URI",
        "look at SOURCE_URI, the server and the user's roles; then `tranship check` again",
    ),
    "source.standalone": Explanation(
        "no replica set, so no change stream",
        "make it a replica set (of one, if need be): `rs.initiate()`",
    ),
    "source.sharded": Explanation(
        "a mongos, or one shard of a cluster; not supported yet",
        "migrate from a replica set of its own",
    ),
    "source.secondary": Explanation(
        "the address does not lead to the primary",
        "name the replica set in the URI (`replicaSet=…`) or the primary's address",
    ),
    "source.version": Explanation(
        "older than MongoDB 6.0",
        "upgrade the source to MongoDB 6.0 or later",
    ),
    "source.missing": Explanation(
        "the collection does not exist",
        "correct `collection` (or the stream's name), or take the stream out",
    ),
    "source.markers": Explanation(
        "the collection is the one for markers",
        "copy another collection: this one is tranship's own",
    ),
    "source.view": Explanation(
        "a view is not data",
        "copy the collection that the view reads",
    ),
    "source.timeseries": Explanation(
        "a time-series collection has no change stream",
        "leave it out, and copy it while nobody writes",
    ),
    "source.capped": Explanation(
        "documents vanish from a capped collection",
        "copy it into a plain collection, or leave it out",
    ),
    "source.collation": Explanation(
        "a default collation changes which `_id`s are equal",
        "copy it into a collection without a default collation, or leave it out",
    ),
    "source.ttl": Explanation(
        "(info) documents expire",
        "nothing, if expired documents are to go from the target too; they go by the source's clock "
        "until the switch, and by nothing after it",
    ),
    "source.clustered": Explanation(
        "a warning: the applier may be slow on a large clustered collection",
        "nothing for a small one; else move a copy that is not clustered, or keep its writes few",
    ),
    "source.long_keys": Explanation(
        "an `_id` is longer than 1,000 bytes, or the parts of one than some 2,500 in all (before a "
        "long part 1,500), and its key column is not `long`; a warning when that was not found out "
        "within a minute",
        "write `long: true` at the key column that the message names",
    ),
    "source.index": Explanation(
        "(info) an index of a kind that no index of a plan can stand for: text, geographical, wildcard and the like",
        "make an index of your own in PostgreSQL for the queries that need it; the message names a kind",
    ),
    "source.clock": Explanation(
        "a warning: the source's clock is more than five seconds off this machine's",
        "let both follow a time server; nothing is decided by it, but times in reports cannot be compared",
    ),
    "source.oplog_short": Explanation(
        "a warning: the source keeps its changes for less than three times as long as a run takes, roughly",
        "make the oplog larger before the run (`replSetResizeOplog`): a run that is paused for longer than changes are "
        "kept has to compare everything anew",
    ),
    "source.oplog_unknown": Explanation(
        "(info) the source does not tell for how long it keeps its changes",
        "the role `read` on the database `local` shows it; or look yourself: `rs.printReplicationInfo()`",
    ),
    "source.unreadable": Explanation(
        "the user may not read the collection, or `where` is no filter that can be asked along the "
        "index of `_id` (`$text` and `$near` cannot)",
        "grant the role `read` on the database, or correct `where`",
    ),
    "source.unwatchable": Explanation(
        "the user may not open a change stream, or the server's feature compatibility version is below 6.0",
        "grant the privilege `changeStream` (the role `read` has it), or raise the feature compatibility version",
    ),
    "source.fence": Explanation(
        "the fence that the plan names (`cutover.fence`) could not be raised, or would not hold",
        "grant what docs/privileges.md lists for fences, give applications users that can be fenced, or name another "
        "fence",
    ),
    "source.rights_unknown": Explanation(
        "(info) the server does not tell whether the user may write tranship's own collections",
        "nothing: a run tries it before it makes anything",
    ),
    "source.cluster_unknown": Explanation(
        "(info) the user may not ask which replica set this is (`replSetGetConfig`), or whether it is a shard "
        "(`shardingState`)",
        "grant what docs/privileges.md lists for the cluster, before a run begins; or make sure that the address is "
        "not that of a shard, and that no other replica set has its name",
    ),
    "source.unwritable": Explanation(
        "the user may not write the markers (`tranship_markers`) or the routing record (`tranship_switches`)",
        "grant what docs/privileges.md lists for `tranship_markers` and `tranship_switches`",
    ),
    "target.restored": Explanation(
        "the source has the record of a switch to this target that the target does not know: it was "
        "restored, or a standby took over that had not got it yet. What the message says removes the "
        "record, if the target is to be filled anew",
        "find out which of the two is right before anything else: what applications wrote since may be missing",
    ),
    "target.unreachable": Explanation(
        "no answer, bad credentials",
        "look at TARGET_URI, the credentials, CONNECT on the database and the server's log; then "
        "`tranship check` again",
    ),
    "target.pooler": Explanation(
        "the address leads to PgBouncer or another pooler: takeover ends sessions, and there it would"
        " end those of applications",
        "use the address of the server itself",
    ),
    "target.version": Explanation(
        "older than PostgreSQL 14",
        "upgrade the target to PostgreSQL 14 or later",
    ),
    "target.encoding": Explanation(
        "the database is not UTF8",
        "make a database with ENCODING 'UTF8'",
    ),
    "target.replication_role": Explanation(
        "`session_replication_role` is `replica`: foreign keys and triggers would not act",
        "set `session_replication_role` to `origin` for the role and database",
    ),
    "target.read_only": Explanation(
        "a standby, or `default_transaction_read_only` is on",
        "use the address of the primary, or let the role write",
    ),
    "target.identity": Explanation(
        "`pg_control_system()` may not be called",
        "GRANT EXECUTE ON FUNCTION pg_control_system() to the role",
    ),
    "target.terminate": Explanation(
        "`pg_terminate_backend` may not be called",
        "GRANT EXECUTE ON FUNCTION pg_terminate_backend to the role",
    ),
    "target.role": Explanation(
        "the role that logs in acts as another one (`ALTER ROLE … SET role`) that may not end its sessions",
        "log in as the role that owns, without ALTER ROLE … SET role, or let it end the other's sessions",
    ),
    "target.sessions": Explanation(
        "the limits of role, database or server allow fewer sessions than a run opens at once: 11 and"
        " 3 for each of `limits.workers`, commands beside it included; a warning when fewer are free "
        "now",
        "raise the limit that the message names, or lower `limits.workers`",
    ),
    "target.privilege": Explanation(
        "a schema may not be made or used",
        "grant the role what the message names (CREATE on the database, or USAGE and CREATE on the schema)",
    ),
    "target.temporary": Explanation(
        "temporary tables may not be made",
        "GRANT TEMPORARY ON DATABASE to the role",
    ),
    "target.foreign_key": Explanation(
        "a foreign key that the run did not make refers to its tables, or refuses their rows; on a "
        "key, the plan can accept it (then a warning)",
        "drop the foreign key until the switch, or name its table in `target.accept`",
    ),
    "target.trigger": Explanation(
        "a trigger acts on each row that is copied or applied (warning)",
        "see whether it may act on copied rows; else disable it until the switch",
    ),
    "target.rule": Explanation(
        "a rule rewrites what is applied",
        "drop the rule until the switch",
    ),
    "target.policy": Explanation(
        "row security is forced on a table of the run; a policy that does not bind the owner is a warning",
        "take FORCE ROW LEVEL SECURITY off until the switch",
    ),
    "target.view": Explanation(
        "a view is on a table of the run: a rollback cannot drop the table before the view is gone (warning)",
        "nothing; drop the view before a rollback",
    ),
    "target.seen_outside": Explanation(
        "of a dry run only: a publication for all tables or an event trigger would see its shadow",
        "rehearse against a copy of the target, or take it off for the dry run; a run itself does not mind",
    ),
    "target.publication": Explanation(
        "the run's tables are published (warning); an error where PostgreSQL 18 would refuse to "
        "change rows, because the generated key column of `long: true` is not",
        "nothing, if its subscribers may see the copy; else take the tables out of the publication until the switch",
    ),
    "target.name_taken": Explanation(
        "a table is there that this run did not make",
        "drop or rename the table, or write another `table` or `target.schema`",
    ),
    "target.names": Explanation(
        "names that collide or are too long, child tables included",
        "write other names where the message says",
    ),
    "target.state_taken": Explanation(
        "`state_schema` holds somebody else's tables",
        "write another `target.state_schema`",
    ),
    "target.state_version": Explanation(
        "`state_schema` was made by a newer tranship, or by an earlier one that was never released; (info) by the "
        "version before, which the next run brings up to date",
        "use the tranship that made it or a later one, or another `target.state_schema`",
    ),
    "target.clock": Explanation(
        "a warning: the target's clock is more than five seconds off this machine's",
        "let both follow a time server; the journal goes by the target's clock",
    ),
    "target.event_trigger": Explanation(
        "a warning: an event trigger acts on each table and index that a run makes or drops",
        "see what it does; where it refuses or changes something, disable it for the run",
    ),
    "target.wal_level": Explanation(
        "(info) `wal_level` is not `logical`: nothing can follow the target's changes",
        "nothing for a run; for a feed back, or another subscriber, set it to `logical` and restart",
    ),
    "target.slots": Explanation(
        "(info) all replication slots are in use: nothing more can follow the target's changes",
        "nothing for a run; for a feed back, raise `max_replication_slots`, or drop a slot that nobody reads",
    ),
    "target.prepared": Explanation(
        "a warning: transactions were prepared on the target (`PREPARE TRANSACTION`) and not ended: they keep their "
        "locks, which nobody's session has, and no replication slot can be made",
        "find out whose they are (`pg_prepared_xacts`), and end each by `COMMIT PREPARED` or `ROLLBACK PREPARED`",
    ),
    "target.locale": Explanation(
        "(info) the database orders texts by a locale, and MongoDB by their bytes",
        'write `ORDER BY … COLLATE "C"` where the old order matters',
    ),
    "target.row_width": Explanation(
        "rows that do not fit a page of PostgreSQL, found by trying: their documents are kept in quarantine",
        "take fewer columns (`rest: {json: NAME}` holds the others in one), or let such documents stay aside "
        "(`cutover.max_quarantined`)",
    ),
    "target.index_entry": Explanation(
        "values too long for an index of the plan: they stay NULL and in the residue; an error beyond `limits.misfit`",
        "leave the index away, or index another column: PostgreSQL's indexes hold entries of up to 2,704 bytes",
    ),
    "data.off_type": Explanation(
        "values of another type than their column's: they stay NULL and in the residue; an error beyond "
        "`limits.misfit`",
        "change the column's type, or clean the source; or leave them there",
    ),
    "data.nul": Explanation(
        "texts with U+0000, which PostgreSQL cannot hold: they stay NULL and in the residue; an error beyond "
        "`limits.misfit`",
        "clean the source, or leave them there",
    ),
    "data.misfit": Explanation(
        "values that their columns cannot hold for another reason, which the message names; an error beyond "
        "`limits.misfit`",
        "change the column, or clean the source; or leave them in the residue",
    ),
    "data.never_filled": Explanation(
        "a column or child table that no document has filled; (info) where only a part of the documents was looked at",
        "mend its name or type in the plan, or write `filled: optional` for what may be empty",
    ),
    "data.quarantined": Explanation(
        "documents that cannot become rows, for reasons that the message names; a warning within "
        "`cutover.max_quarantined`, else an error",
        "mend the documents or the plan, or let so many stay aside",
    ),
    "data.unfit": Explanation(
        "a document does not fit a stream that says `rest: fail`",
        "change the plan or the document, or keep what does not fit: `rest: residue`",
    ),
    "data.duplicate": Explanation(
        "documents that hold what another one holds in a unique column",
        "make the values unique in the source, or take `unique` out of the plan; `tranship dry-run --keys` names them",
    ),
    "data.dangling": Explanation(
        "(info) references to documents that are not there",
        "nothing, if they may dangle, as they do in MongoDB: no foreign key is made; a join loses such rows",
    ),
}
