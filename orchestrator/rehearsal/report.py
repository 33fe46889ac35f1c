"""What a dry run has found: as values for programs, and as lines for people."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

from tranship.connectors.errors import ConnectorError
from tranship.connectors.protocols import Finding
from tranship.orchestrator.engine.session import Session
from tranship.orchestrator.journal.records import Entry, Kind
from tranship.orchestrator.journal.state import ENDED, fold_all
from tranship.orchestrator.rehearsal.phase import NOT_REHEARSED, REASON
from tranship.orchestrator.reports.advice import to_type
from tranship.orchestrator.reports.checked import CheckFinding
from tranship.orchestrator.reports.fit import lines
from tranship.orchestrator.reports.status import Status, StreamStatus, duration, equation, utc
from tranship.plans.fingerprint import meaning
from tranship.plans.strategies import PhaseName

VERSION = 1
"""Of what `as_dict` gives."""


@dataclass(frozen=True)
class PhaseTime:
    """How long a phase took, and taking it back; None where it did not come to that."""

    phase: str
    seconds: float | None
    undo_seconds: float | None


@dataclass(frozen=True)
class Report:
    """The result of a dry run, taken at `taken_at` (UTC). `may_start`: whether the real run may start under the plan's
    thresholds; `against`: why not, a sentence each. `meaning`: the digest of what the plan means. `streams`, `dangling`
    and `divergences` are as everything stood before it was taken back. `cutover`: what the drain and the last
    comparison took under writes. `left`: schemas that are still there, and why."""

    version: int
    taken_at: str
    plan: str
    source: str
    target: str
    meaning: str
    coverage: str
    may_start: bool
    against: tuple[str, ...]
    findings: tuple[CheckFinding, ...]
    phases: tuple[PhaseTime, ...]
    seconds: float | None
    streams: tuple[StreamStatus, ...]
    dangling: Mapping[str, Any]
    divergences: tuple[dict[str, Any], ...]
    cutover: Mapping[str, Any]
    not_rehearsed: tuple[str, ...]
    left: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self)


def refused(session: Session, found: Sequence[Finding]) -> Report:
    """Of a plan that cannot be rehearsed: nothing was made."""
    errors = [f"{f.code}: {f.message}" for f in found if f.severity == "error"]
    return _report(session, found, against=errors)


def reported(session: Session, shadow: Session, run: str, found: Sequence[Finding], status: Status) -> Report:
    """Of one that was carried out. `status`: as it stood before it was rolled back."""
    entries = shadow.control.journal(run)
    state = fold_all(entry.record for entry in entries)
    cutover = dict(state.facts.get(PhaseName.CUTOVER, {}))
    # What comes after the first stop only takes everything back.
    stops = [entry.record for entry in entries if entry.record.kind in (Kind.PAUSED, Kind.HELD, Kind.ROLLBACK)]
    why = str(stops[0].data["reason"]) if stops else state.reason
    against = [] if why == REASON else [why]
    against += cutover.pop("objections", [])
    schemas = (shadow.plan.target.schema_name, shadow.plan.target.state_schema)
    left = [] if state.status in ENDED else [f"{name}: {state.reason}" for name in schemas]
    return _report(
        session,
        found,
        against=[to_type(one, session.file) for one in against],
        phases=_phases(entries, state.phases),
        status=status,
        dangling=state.facts.get(PhaseName.RECONCILE, {}).get("dangling", {}),
        cutover=cutover,
        left=left,
    )


def _report(
    session: Session,
    found: Sequence[Finding],
    *,
    against: Sequence[str],
    phases: Sequence[PhaseTime] = (),
    status: Status | None = None,
    dangling: Mapping[str, Any] | None = None,
    cutover: Mapping[str, Any] | None = None,
    left: Sequence[str] = (),
) -> Report:
    source, target = _identities(session)
    named = tuple(CheckFinding(one.code, one.severity, one.message, one.hint) for one in found)
    times = [phase.seconds for phase in phases if phase.seconds is not None]
    return Report(
        version=VERSION,
        taken_at=utc(time.time()),
        plan=session.plan.name,
        source=source,
        target=target,
        meaning=meaning(session.plan),
        coverage="every document",
        may_start=not against,
        against=tuple(against),
        findings=named,
        phases=tuple(phases),
        seconds=round(sum(times), 1) if times else None,
        streams=status.streams if status is not None else (),
        dangling=dangling or {},
        divergences=status.divergences if status is not None else (),
        cutover=cutover or {},
        not_rehearsed=NOT_REHEARSED,
        left=tuple(left),
    )


def _identities(session: Session) -> tuple[str, str]:
    """Of source and target; unknown where they do not answer."""
    found = []
    for connect in (session.connect.source, session.connect.schema):
        try:
            with closing(connect()) as side:
                found.append(side.identity())
        except ConnectorError:
            found.append("unknown")
    return found[0], found[1]


def _phases(entries: Sequence[Entry], phases: Sequence[PhaseName]) -> list[PhaseTime]:
    """From intent to the end of verifying, and from the intent of undoing to its end, by the target's clock."""
    at = {(entry.record.kind, entry.record.phase): entry.at for entry in entries if entry.record.phase is not None}
    kinds = ((Kind.INTENT, Kind.VERIFIED), (Kind.UNDO_INTENT, Kind.UNDONE))
    found = []
    for phase in phases:
        spans = [(at.get((begin, phase)), at.get((end, phase))) for begin, end in kinds]
        seconds = [round(end - begin, 3) if begin and end and end >= begin else None for begin, end in spans]
        found.append(PhaseTime(phase.value, *seconds))
    return found


# --- for people -------------------------------------------------------------------------------------------------------


def printed(report: Report) -> Iterator[str]:
    """The report as lines."""
    for finding in report.findings:
        yield f"{finding.severity} {finding.code}: {finding.message}" + (f"\n  {finding.hint}" if finding.hint else "")
    for stream in report.streams:
        counted = f"{stream.rows:,} rows loaded, {stream.quarantined:,} quarantined"
        yield f"{stream.stream}: {equation(stream.compared) if stream.compared is not None else counted}"
        yield from (f"  {line}" for line in lines(stream.stream, stream.fit))
        for column, count in report.dangling.get(stream.stream, {}).items():
            if count:
                yield f"  {count:,} rows refer by {column} to nothing that is there"
    if report.phases:
        took = ", ".join(f"{one.phase} {duration(one.seconds)}" for one in report.phases if one.seconds is not None)
        yield f"phases: {took}"
    if report.seconds is not None:
        yield f"a run would take about {duration(report.seconds)} to its cutover, as the servers are loaded now"
    if report.cutover:
        wait = report.cutover["drained_s"] + report.cutover["compared_s"]
        yield f"writers would stand still for about {duration(wait)} and the quiet time"
    for line in report.not_rehearsed:
        yield f"not rehearsed: {line}"
    for line in report.left:
        yield f"left, for `tranship purge PLAN --shadows`: {line}"
    for line in report.against:
        yield f"against a run: {line}"
    yield "the run may start" if report.may_start else "the run may not start"
