"""What a code means and what to do about it: exit codes, problems of plans, findings. `tranship explain` prints it.

The one place of these texts; the tables in `docs/` are held to it by a test.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Explanation(NamedTuple):
    """What a code means, and what to do; nothing where there is nothing to be done."""

    means: str
    then: str


EXIT_CODES: Mapping[str, Explanation] = {
    "0": Explanation(
        "finished; for other commands than `run`: done, also for a `rollback` that rolled back",
        "",
    ),
    "1": Explanation(
        "an unexpected error (with its traceback: a bug); `reconcile`: rows diverge; `sandbox "
        "status`: none runs, or one does not answer; `demo`: a promise was broken",
        "",
    ),
    "2": Explanation(
        "bad usage or plan, no run to speak of, nothing of the kind in quarantine, a question that "
        "nobody was there to answer (`--yes`)",
        "the message names file, line and what is allowed",
    ),
    "3": Explanation(
        "refused: preflight, a plan whose meaning changed, a journal that is newer or was tampered "
        "with, a server that cannot be reached when a command starts",
        "the message says what to do; nothing was changed",
    ),
    "4": Explanation(
        "`run` or `resume`: rolled back; `reconcile`: there is nothing to compare, the run was rolled back",
        "the reason is in `status`; mend it, run again",
    ),
    "5": Explanation(
        "held",
        "the reason is in `status`; look at what it says, then `resume` or `rollback`",
    ),
    "6": Explanation(
        "another orchestrator holds the lease, or has taken over",
        "find it, or leave it to it",
    ),
    "7": Explanation(
        "paused",
        "`run` goes on",
    ),
    "130": Explanation(
        "ended at once by a second Ctrl-C",
        "`run` goes on",
    ),
    "143": Explanation(
        "ended at once by a second SIGTERM",
        "`run` goes on",
    ),
}

PROBLEMS: Mapping[str, Explanation] = {
    "P001": Explanation(
        "not a YAML document of mappings, lists and plain values",
        "write the file as YAML of plain keys and values; the message names the line",
    ),
    "P002": Explanation(
        "a key stands twice",
        "keep one of the two",
    ),
    "P003": Explanation(
        "unknown key",
        "correct the spelling (the message names the nearest key), or take the key out",
    ),
    "P004": Explanation(
        "a required key is missing",
        "add the key; docs/plans.md says what it takes",
    ),
    "P005": Explanation(
        "wrong type of value",
        "write a value of the type that the message names",
    ),
    "P006": Explanation(
        "not one of the allowed values",
        "write one of the values that the message lists",
    ),
    "P007": Explanation(
        "planned, but not available yet",
        "take the key out: nothing would come of it yet",
    ),
    "P008": Explanation(
        "a literal secret, a reference that leads nowhere, or one in the wrong place",
        "put the secret into the environment or a file, and write `${env:NAME}` or `${file:PATH}` in "
        "its place; set the variable in the shell that runs tranship",
    ),
    "P009": Explanation(
        "a value out of its range",
        "write a value within the range that the message names",
    ),
    "P101": Explanation(
        "a name that PostgreSQL would cut or cannot hold",
        "write the line that the message ends with: it gives the column or table another name",
    ),
    "P102": Explanation(
        "two tables with one name (letter case ignored)",
        "write the line that the message ends with: it gives one of the tables another name",
    ),
    "P103": Explanation(
        "two columns with one name (letter case ignored)",
        "write the line that the message ends with: it gives one of the columns another name",
    ),
    "P104": Explanation(
        "a name that tranship or PostgreSQL uses itself",
        "write the line that the message ends with: it gives the column or table another name",
    ),
    "P105": Explanation(
        "two columns read one field, or one a part of the other's",
        "let one column read the field; a column of type json may take the whole of it",
    ),
    "P106": Explanation(
        "a key that is not read from `_id`, or something else that is",
        "read the key from `_id` or parts of it, and everything else from other fields",
    ),
    "P107": Explanation(
        "a reference to no stream, or to a key of another form",
        "name a stream of the plan whose key is one column of the same type, or take the reference out",
    ),
    "P108": Explanation(
        "an index over a column that is not there",
        "name columns of the same table, or take the index out",
    ),
    "P109": Explanation(
        "more columns than PostgreSQL can hold",
        "leave rarely used fields to the rest, or put arrays into child tables",
    ),
    "P110": Explanation(
        "warning: rows that may not fit a page",
        "nothing, while the documents are small; else leave fields to the rest, or put arrays into child tables",
    ),
    "P111": Explanation(
        "schemas that are the same or PostgreSQL's own",
        "give `target.schema` and `target.state_schema` two names of your own",
    ),
    "P112": Explanation(
        "a system database, a system collection or the marker collection",
        "copy another database or collection",
    ),
    "P113": Explanation(
        "warning: streams of one collection that share documents",
        "nothing, if one document is to arrive in both; else write filters (`where`) that take different documents",
    ),
    "P114": Explanation(
        "an `order` that leaves out a mapped field or has one twice",
        "list each mapped field once, in the order of the documents",
    ),
    "P115": Explanation(
        "more workers than the memory holds",
        "lower `limits.workers`, or `limits.chunk`, or give the machine more memory",
    ),
    "P116": Explanation(
        "an index over an array",
        "take the array out of the index, or put the array into a child table",
    ),
    "P117": Explanation(
        "an index, or a primary key, of more than 32 columns",
        "take columns out of the index or the key",
    ),
    "P118": Explanation(
        "a condition of an index over a column that is not there, or with a value of another type",
        "name a column of the stream, and write the value as its type is written; texts are compared by eq and in",
    ),
    "P119": Explanation(
        "a unique index over nothing but key columns",
        "leave `unique` out, or the index if it has all of the key: the primary key is unique already",
    ),
}

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
        "a warning: documents expire",
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
    "source.unreadable": Explanation(
        "the user may not read the collection, or `where` is no filter that can be asked along the "
        "index of `_id` (`$text` and `$near` cannot)",
        "grant the role `read` on the database, or correct `where`",
    ),
    "source.unwatchable": Explanation(
        "the user may not open a change stream, or the server's feature compatibility version is below 6.0",
        "grant the privilege `changeStream` (the role `read` has it), or raise the feature compatibility version",
    ),
    "source.rights_unknown": Explanation(
        "(info) the server does not tell whether the user may write tranship's own collections",
        "nothing: a run tries it before it makes anything",
    ),
    "source.unwritable": Explanation(
        "the user may not write the markers (`tranship_markers`) or the note of the switch (`tranship_switches`)",
        "grant what docs/operations.md lists for `tranship_markers` and `tranship_switches`",
    ),
    "target.restored": Explanation(
        "the source has the note of a switch to this target that the target does not know: it was "
        "restored, or a standby took over that had not got it yet. What the message says removes the "
        "note, if the target is to be filled anew",
        "find out which of the two is right before anything else: what applications wrote since may be missing",
    ),
    "target.unreachable": Explanation(
        "no answer, bad credentials",
        "look at TARGET_URI, the credentials and the server's log; then `tranship check` again",
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
        "`state_schema` was made by a newer tranship, or by an earlier one that was never released",
        "use the tranship that made it or a later one, or another `target.state_schema`",
    ),
}

KINDS: Mapping[str, Mapping[str, Explanation]] = {
    "exit code": EXIT_CODES,
    "problem of a plan": PROBLEMS,
    "finding": FINDINGS,
}
