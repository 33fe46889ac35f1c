"""What a dry run has found, as values for programs. `printing` makes lines of it, `page` a page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tranship.orchestrator.rehearsal.projection import Projection
from tranship.orchestrator.reports.checked import CheckFinding
from tranship.orchestrator.reports.status import StreamStatus

VERSION = 1
"""Of what `as_dict` gives."""


@dataclass(frozen=True)
class PhaseTime:
    """How long a phase took, and taking it back; None where it did not come to that. `halfway`: whether its first half
    was carried out and taken back before."""

    phase: str
    seconds: float | None
    undo_seconds: float | None
    halfway: bool = False


@dataclass(frozen=True)
class Looked:
    """What of a stream was looked at: so many spans of all. `documents`, `bytes`: of the whole collection, by the
    source's statistics, in which a `where` is not regarded."""

    stream: str
    spans: int
    of: int
    documents: int
    bytes: int


@dataclass(frozen=True)
class LeftOut:
    """A stream that was not rehearsed to the end, why, and its rows that say so."""

    stream: str
    why: str
    divergences: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class Report:
    """The result of a dry run, taken at `taken_at` (UTC). `may_start`: whether the real run may start under the plan's
    thresholds; `against`: why not, a sentence each. `meaning`: the digest of what the plan means; `thresholds`: what it
    allows. `streams`, `dangling`
    and `divergences` are as everything stood before it was taken back. `cutover`: what the drain and the last
    comparison took under writes. `projection`: how long a run would take. `target_bytes`: what its tables would take;
    `history_s`: how far the source's history reached back before what was read; None where that is not known.
    `examples`: some keys that are referred to in vain, where they were asked for; keys are people's data, and only then
    `divergences` has any, too. `ddl`: the SQL of what it would make. `bounds`: what is to be known of a sample. `left`:
    schemas that are still there, and why."""

    version: int
    taken_at: str
    plan: str
    source: str
    target: str
    meaning: str
    thresholds: Mapping[str, float]
    may_start: bool
    against: tuple[str, ...]
    findings: tuple[CheckFinding, ...]
    ddl: str
    coverage: str = "nothing"
    sample: tuple[Looked, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    phases: tuple[PhaseTime, ...] = ()
    seconds: float | None = None
    projection: Projection | None = None
    streams: tuple[StreamStatus, ...] = ()
    dangling: Mapping[str, Any] = field(default_factory=dict)
    divergences: tuple[dict[str, Any], ...] = ()
    examples: Mapping[str, Any] = field(default_factory=dict)
    cutover: Mapping[str, Any] = field(default_factory=dict)
    target_bytes: int | None = None
    history_s: float | None = None
    bounds: tuple[str, ...] = ()
    not_rehearsed: tuple[str, ...] = ()
    left: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self)
