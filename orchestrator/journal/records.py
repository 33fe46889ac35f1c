"""What a journal holds: records, and their chain of hashes.

A record says that something was decided or seen; it never holds a secret, a URI or a document. Records are immutable
and numbered without gaps; each carries the hash of the one before it, so that a changed or missing one is found when
the journal is read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from tranship.plans.strategies import Group, PhaseName

VERSION = 3
"""Version of the records' form and meaning. Older ones are read as what they meant, newer ones refused.

1: hashes do not cover the run's name, approvals name no asking, claims no projection.
2: they do.
3: the cutover is a group of phases, which is lifted by a record of its own; its pivot has two records.
"""

GENESIS = "0" * 64


class Kind(StrEnum):
    """The kinds of records; `journal.fold` says what each one does."""

    CREATED = "created"
    CLAIMED = "claimed"
    INTENT = "intent"
    OBSERVED = "observed"
    DONE = "done"
    VERIFIED = "verified"
    FAILED = "failed"
    APPROVAL_ASKED = "approval-asked"
    APPROVED = "approved"
    APPROVAL_WITHDRAWN = "approval-withdrawn"
    SERVICE_FAILED = "service-failed"
    PAUSED = "paused"
    RESUMED = "resumed"
    HELD = "held"
    RESEED = "reseed"
    RESEEDED = "reseeded"
    ROLLBACK = "rollback"
    UNDO_INTENT = "undo-intent"
    UNDONE = "undone"
    ROLLED_BACK = "rolled-back"
    REPAIR = "repair"
    RETRY = "retry"
    AMENDED = "amended"
    IGNORED = "ignored"
    LIFTED = "lifted"
    PIVOT_SENT = "pivot-sent"
    PIVOTED = "pivoted"
    FINISHED = "finished"
    # Of versions 1 and 2 only (`journal.earlier`).
    SEALED = "sealed"
    SWITCHED = "switched"


class JournalError(Exception):
    """The journal cannot be read or continued: broken chain, a newer version, a record that does not fit."""


@dataclass(frozen=True)
class Record:
    """What happened. `data` is JSON-able. `phase`: of which phase, or of which group of them."""

    kind: Kind
    phase: PhaseName | Group | None = None
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """A record as it stands in the journal; `at`: seconds since 1970 by the clock of the database that keeps it.

    `version` is that of the program that wrote it.
    """

    seq: int
    epoch: int
    at: float
    record: Record
    previous: str
    hash: str
    version: int = VERSION


@dataclass(frozen=True)
class Head:
    """Where a journal ends: a chain proves order, not completeness, so its end is kept apart (`rules.md` K8)."""

    seq: int = 0
    hash: str = GENESIS


def sealed(run: str, head: Head, epoch: int, at: float, record: Record, *, version: int = VERSION) -> Entry:
    """The entry that follows the head of a run's journal. Its hash covers everything in it and the head's hash."""
    seq = head.seq + 1
    body = [version, head.hash, seq, epoch, f"{at:.6f}", record.kind, record.phase, record.data]
    if version > 1:
        body.insert(1, run)
    return Entry(seq, epoch, at, record, head.hash, _hash(body), version)


def _hash(body: list[Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def check_chain(run: str, entries: Iterable[Entry], head: Head | None = None) -> list[Entry]:
    """The entries, proven to be unchanged and, at least up to a head that was kept apart, complete.

    `JournalError` names the first entry that is not as it was written, or what is missing at the end.
    """
    last, checked = Head(), []
    for entry in entries:
        expected = sealed(run, last, entry.epoch, entry.at, entry.record, version=entry.version)
        if entry != expected:
            raise JournalError(
                f"journal entry {last.seq + 1} ({entry.record.kind}) does not continue the chain: it was changed or "
                "removed by something other than tranship. Restore the state schema from a backup; the data was not "
                "touched."
            )
        checked.append(entry)
        last = Head(entry.seq, entry.hash)
    if head is not None and head not in (Head(), *(Head(entry.seq, entry.hash) for entry in checked[head.seq - 1 :])):
        raise JournalError(
            f"the journal of run {run} ends at entry {last.seq}, but entry {head.seq} was the last that was written: "
            "its end was removed by something other than tranship. Restore the state schema from a backup, all of it; "
            "the data was not touched."
        )
    return checked
