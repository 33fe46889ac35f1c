"""Named crash sites for tests: each name stands at one place in the code, and each has a crash test.

`TRANSHIP_FAILPOINT=name=action` or `name@n=action` (the n-th time the name is reached in one process) arms one site,
several are parted by commas: `kill` ends the whole process group with SIGKILL, `stop` halts it with SIGSTOP until
somebody continues it, `error` raises. Without the variable a site costs one dictionary look-up. The sites inside a
connector's transactions come through the connector's `hook`, which is `reached` itself.
"""

from __future__ import annotations

import os
import signal
from collections import Counter

SITES: dict[str, str] = {
    "claim.after_lease": "the lease is ours, the epoch is not yet",
    "claim.after_epoch": "the epoch is ours, the journal does not say so",
    "journal.before_commit": "a record is sent, COMMIT is not",
    "journal.after_append": "a record is committed, nothing has followed from it",
    "expand.after_tables": "tables exist, nobody has written so",
    "capture.after_position": "the first position is durable, no reader has started",
    "backfill.after_plan": "one stream's chunks are recorded",
    "chunk.after_read": "a chunk is read, nothing of it is written",
    "index.after_create": "indexes exist, nobody has written so",
    "constrain.after_create": "constraints exist, nobody has written so",
    "reconcile.after_full": "every span was compared once, suspects are in memory only",
    "fence.after_guard": "a guard watches, no fence is raised",
    "fence.after_swap": "the source's record is fenced, nobody has stopped yet",
    "raise.after_register": "the source's fence is in the register, its command is not sent",
    "raise.after_command": "the source's server refuses writes, nobody has tried it",
    "lower.after_register": "that the fence is lowered is in the register, its command is not sent",
    "lower.after_command": "the server takes writes again, the record does not say so",
    "cutover.after_quiet": "no write comes any more, the marker is not yet written",
    "drain.after_marker": "the marker is on the source",
    "seal.before_commit": "lanes are sealed, COMMIT is not sent",
    "seal.after_commit": "lanes are sealed, nobody has heard of it",
    "cutover.after_seal": "nothing is applied any more, the journal does not say so",
    "cutover.before_switch": "all is proven, the switch is not yet sent",
    "pivot.after_sent": "the journal says that the switch is sent, nothing is",
    "pivot.after_swap": "the source's record is handed over, the journal does not say so",
    "open.after_swap": "the target is the primary, the journal does not say so",
    "guard.before_lift": "the deadline has passed, the fence stands",
    "guard.after_lift": "the guard has lifted the fence",
    "lift.before_unseal": "the source is the primary again, lanes are sealed still",
    "lift.after_unseal": "an attempt is taken back, the journal does not say so",
    "rehearsal.halfway": "a dry run has done half of a phase, nothing of that is undone",
    "rehearsal.before_end": "a dry run has seen everything, nothing is undone",
    "rehearsal.before_removal": "a dry run is undone, its state is there",
    "undo.before": "the intent to undo a phase is written, nothing is undone",
    "undo.after": "a phase is undone, nobody has written so",
    "load.before_mark": "a chunk's rows are sent",
    "load.before_epoch": "a chunk's mark is swapped",
    "load.before_commit": "a chunk is complete, COMMIT is not sent",
    "load.after_commit": "a chunk is committed, nobody has heard of it",
    "replace.before_delete": "dirty keys are read from the source",
    "replace.before_mark": "rows are replaced",
    "replace.before_epoch": "lanes are swapped",
    "replace.before_commit": "a batch is complete, COMMIT is not sent",
    "replace.after_commit": "a batch is committed, nobody has heard of it",
    "keep.before_position": "dirty keys are sent",
    "keep.before_commit": "dirty keys and position are sent",
    "keep.after_commit": "dirty keys and position are kept",
}

VARIABLE = "TRANSHIP_FAILPOINT"

_hits: Counter[str] = Counter()


class FailpointError(Exception):
    """Raised by a site that is armed with `error`."""


def reached(name: str) -> None:
    """Say that a site was reached; does what the environment asks for there."""
    armed = os.environ.get(VARIABLE)
    if not armed or name not in armed:
        return
    for one in armed.split(","):
        site, _, action = one.partition("=")
        site, _, nth = site.partition("@")
        if site == name:
            _act(name, nth, action)


def _act(name: str, nth: str, action: str) -> None:
    _hits[name] += 1
    if _hits[name] != int(nth or 1):
        return
    if action == "error":
        raise FailpointError(name)
    os.killpg(os.getpgrp(), signal.SIGKILL if action == "kill" else signal.SIGSTOP)
