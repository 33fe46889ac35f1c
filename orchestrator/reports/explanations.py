"""What a code means and what to do about it: exit codes, problems of plans, findings. `tranship explain` prints it.

The one place of these texts; the tables in `docs/` are held to it by a test.
"""

from __future__ import annotations

from collections.abc import Mapping

from tranship.orchestrator.reports.explanation import Explanation
from tranship.orchestrator.reports.findings import FINDINGS

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
    "P120": Explanation(
        "`fence: roles` without `writers`, `writers` with a fence that is not about users, or one of them twice",
        "declare each application's user on the source once, or name another fence",
    ),
}

KINDS: Mapping[str, Mapping[str, Explanation]] = {
    "exit code": EXIT_CODES,
    "problem of a plan": PROBLEMS,
    "finding": FINDINGS,
}
