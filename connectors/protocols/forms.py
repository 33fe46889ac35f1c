"""What travels between connectors and those who use them: keys, spans, positions, marks, findings."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, TypeAlias

Key: TypeAlias = bytes
"""A canonical key (`connectors.keys`): its byte order is the source's key order, equal keys have equal bytes."""

NAMELESS = b"\xff"
"""What the key of a document starts with whose own key cannot be read, before the document's SHA-256: above all keys.

No query finds such a document, and no change of it can be followed: capture stops at the first one.
"""


def is_nameless(key: Key) -> bool:
    """Whether the key only stands for a document whose own cannot be read."""
    return key[:1] == NAMELESS


@dataclass(frozen=True, order=True)
class Span:
    """Keys from `lower` (included) to `upper` (excluded); None is open. The spans of a stream tile its key space."""

    lower: Key | None
    upper: Key | None


@dataclass(frozen=True)
class Position:
    """An opaque resume point of a change source; only the connector that made it can read it. Never compared."""

    token: bytes


READING = 0
"""The epoch of those who only read. Nobody writes under it: a run's first epoch is 1."""


class Feed(StrEnum):
    """What moves data of a run in one direction. It goes on through the rounds of its run: its position is never set to
    now (`rules.md` I6), its marks count on."""

    FORWARD = "forward"
    REVERSE = "reverse"


@dataclass(frozen=True)
class Scope:
    """Whose progress is meant: a feed of a run. `epoch` is the writer's; a statement under another one fails."""

    run: str
    feed: Feed
    epoch: int

    @property
    def reading(self) -> Scope:
        """The same place for somebody who only reads, under no epoch: sessions of his are neither refused nor ended."""
        return Scope(self.run, self.feed, READING)


@dataclass(frozen=True)
class ChunkMark:
    """Mark of the load of one chunk: `pending(attempt)` → `loaded(attempt)`."""

    scope: Scope
    stream: str
    chunk: int
    attempt: int


@dataclass(frozen=True)
class LaneMark:
    """Mark of one lane (a hash partition of the keys): `seq` → `seq + 1` with each applied batch."""

    scope: Scope
    lane: int
    seq: int


@dataclass(frozen=True)
class Chunk:
    """The work on one span. `state`: planned → pending (an attempt has begun) → loaded."""

    stream: str
    number: int
    span: Span
    state: Literal["planned", "pending", "loaded"]
    attempt: int
    rows: int = 0
    quarantined: int = 0


@dataclass(frozen=True)
class DirtyKey:
    """A key that changed since it was last made equal, and how often (`generation`) since the entry was made."""

    stream: str
    key: Key
    generation: int


@dataclass(frozen=True)
class Unapplied:
    """A dirty key, and since when it has been one: in seconds since 1970, by the target's clock."""

    stream: str
    key: Key
    since: float


@dataclass(frozen=True)
class TouchedKey:
    """A key that was applied. `touch` tells which batch did it last; no two batches have the same."""

    key: Key
    touch: int


@dataclass(frozen=True)
class Changes:
    """What a change source saw since the last position: changed keys, markers, the new position.

    `position` may be made durable once `keys` are; not before (`rules.md` I3). `behind_s` is how many seconds it is
    behind the source's present, by the source's clock; 0 when nothing more was there. An idle source still yields, so
    that its position advances.
    """

    keys: tuple[tuple[str, Key], ...]  # (stream, key), deduplicated
    position: Position
    markers: tuple[str, ...] = ()
    behind_s: float = 0.0


@dataclass(frozen=True)
class Finding:
    """One result of preflight or check: a stable code, what and where, and what to do. Errors stop the run. `stream`:
    the only one that it is about; empty where it is about the servers or several streams."""

    code: str
    severity: Literal["error", "warning", "info"]
    message: str
    hint: str = ""
    stream: str = ""


@dataclass(frozen=True, order=True)
class Aside:
    """What a quarantine entry says of its document, which has `size` bytes."""

    key: Key
    path: str
    reason: str
    size: int


@dataclass(frozen=True)
class Mismatch:
    """A key of which the two sides hold something else.

    Its row is only on the source (`missing`), only on the target (`extra`), or `different` in some columns. Or its
    document belongs into quarantine on one side only, or is kept aside there with other bytes, another path or another
    reason (`quarantine`, whatever the rows are). Or a run stopped at its document: other documents hold a value of it
    that the plan calls unique (`duplicate`), or it does not fit and the plan says `rest: fail` (`unfit`).

    `noted` names the record of it, once it has one (`Progress.divergences`); no two records have the same.
    """

    stream: str
    key: Key
    kind: Literal["missing", "extra", "different", "quarantine", "duplicate", "unfit"]
    columns: tuple[str, ...] = ()
    noted: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Tally:
    """What a comparison counted: documents of the source; rows and quarantine entries that the target holds of them."""

    documents: int = 0
    rows: int = 0
    quarantined: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.documents + other.documents, self.rows + other.rows, self.quarantined + other.quarantined)

    def __sub__(self, other: Tally) -> Tally:
        return self + Tally(-other.documents, -other.rows, -other.quarantined)
