"""What a connector can be asked to do. A capability that a system lacks is a protocol that its connector does not have.

The verbs are those of the design: a source tiles, reads and watches; a target loads and replaces; both sides read. All
rows travel as `connectors.batch.Batch`. Every call is blocking, may be made again after any error, and raises only
errors of `connectors.errors`. Objects are used by one thread at a time unless their docstring says otherwise.

**Marks.** A transaction that writes rows also swaps its mark (compare-and-swap; `MarkMovedError` when it has moved)
and, as its last statement, checks the epoch (`EpochMovedError`): neither a zombie nor a late duplicate of an earlier
attempt can commit (`docs/architecture.md`, "Marks and epochs").
"""

from __future__ import annotations

from tranship.connectors.protocols.forms import (
    NAMELESS,
    READING,
    Aside,
    Changes,
    Chunk,
    ChunkMark,
    DirtyKey,
    Feed,
    Finding,
    Key,
    LaneMark,
    Mismatch,
    Position,
    Scope,
    Span,
    Tally,
    TouchedKey,
    Unapplied,
    is_nameless,
)
from tranship.connectors.protocols.progress import (
    MOST_COUNTED,
    Backlog,
    Build,
    Compared,
    Progress,
    Totals,
)
from tranship.connectors.protocols.routing import LiveRouter, Opening, Owner, RecordStore, Routing, RoutingRecord
from tranship.connectors.protocols.schema import (
    TargetSchema,
)
from tranship.connectors.protocols.source import (
    BatchSource,
    ChangeSource,
    Watch,
)
from tranship.connectors.protocols.target import (
    BatchTarget,
    Loaded,
)

__all__ = [
    "MOST_COUNTED",
    "NAMELESS",
    "READING",
    "Aside",
    "Backlog",
    "BatchSource",
    "BatchTarget",
    "Build",
    "ChangeSource",
    "Changes",
    "Chunk",
    "ChunkMark",
    "Compared",
    "DirtyKey",
    "Feed",
    "Finding",
    "Key",
    "LaneMark",
    "LiveRouter",
    "Loaded",
    "Mismatch",
    "Opening",
    "Owner",
    "Position",
    "Progress",
    "RecordStore",
    "Routing",
    "RoutingRecord",
    "Scope",
    "Span",
    "Tally",
    "TargetSchema",
    "Totals",
    "TouchedKey",
    "Unapplied",
    "Watch",
    "is_nameless",
]
