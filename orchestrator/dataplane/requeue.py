"""Quarantine read anew: the keys of entries are marked dirty, and the applier moves each document in or keeps it aside
as it is now. Rows and entries are written by nothing else (`rules.md` I2)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tranship.connectors.errors import AmbiguousCommitError, TransientError
from tranship.connectors.protocols import Key, Progress, Scope, is_nameless
from tranship.plans.streams import Stream

PAGE = 1000


@dataclass(frozen=True)
class Requeued:
    """How many keys were marked dirty, and how many entries were left because nothing can ask for their documents."""

    keys: int
    nameless: int


def requeue(progress: Progress, scope: Scope, streams: Iterable[Stream]) -> Requeued:
    """Mark the keys of all quarantine entries of some streams dirty. Safe to repeat; raises `TransientError`."""
    keys = nameless = 0
    for stream in streams:
        last: Key | None = None
        while page := progress.quarantine(scope, stream, last, PAGE):
            last = page[-1].key
            named = [(stream.name, entry.key) for entry in page if not is_nameless(entry.key)]
            _mark(progress, scope, named)
            keys += len(named)
            nameless += len(page) - len(named)
    return Requeued(keys, nameless)


def _mark(progress: Progress, scope: Scope, keys: list[tuple[str, Key]]) -> None:
    try:
        progress.mark_dirty(scope, keys)
    except AmbiguousCommitError as error:
        # A key that is marked twice, even late, is only read once more than needed.
        raise TransientError(str(error)) from error
