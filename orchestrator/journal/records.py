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

from tranship.plans.strategies import PhaseName

VERSION = 1
"""Version of the records' meaning. Older ones are upgraded when read, newer ones refused."""

GENESIS = "0" * 64


class Kind(StrEnum):
    """The kinds of records; `state.fold` says what each one does."""

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
    SEALED = "sealed"
    SWITCHED = "switched"
    FINISHED = "finished"


class JournalError(Exception):
    """The journal cannot be read or continued: broken chain, a newer version, a record that does not fit."""


@dataclass(frozen=True)
class Record:
    """What happened. `data` is JSON-able."""

    kind: Kind
    phase: PhaseName | None = None
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """A record as it stands in the journal; `at`: seconds since 1970 by the clock of the database that keeps it."""

    seq: int
    epoch: int
    at: float
    record: Record
    previous: str
    hash: str


def seal(previous: str, seq: int, epoch: int, at: float, record: Record) -> str:
    """Hash of an entry, over everything in it and the hash of the entry before."""
    body = [VERSION, previous, seq, epoch, f"{at:.6f}", record.kind, record.phase, record.data]
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def check_chain(entries: Iterable[Entry]) -> list[Entry]:
    """The entries, proven to be complete and unchanged; `JournalError` names the first one that is not."""
    previous, checked = GENESIS, []
    for number, entry in enumerate(entries, start=1):
        expected = seal(previous, number, entry.epoch, entry.at, entry.record)
        if entry.seq != number or entry.previous != previous or entry.hash != expected:
            raise JournalError(
                f"journal entry {number} ({entry.record.kind}) does not continue the chain: it was changed or removed "
                "by something other than tranship. Restore the state schema from a backup; the data was not touched."
            )
        checked.append(entry)
        previous = entry.hash
    return checked
