"""What is made of a dry run: a report, whether it was carried out or not."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from tranship.connectors.errors import ConnectorError
from tranship.connectors.protocols import Finding, Key
from tranship.connectors.registry import schema_script
from tranship.orchestrator.checks.fitting import findings as fit_findings
from tranship.orchestrator.checks.references import dangling as dangling_finding
from tranship.orchestrator.engine.session import Session
from tranship.orchestrator.journal.records import Entry, Kind
from tranship.orchestrator.journal.state import ENDED, State
from tranship.orchestrator.rehearsal.phase import REASON, Rehearsed, RehearsedCutover
from tranship.orchestrator.rehearsal.projection import project
from tranship.orchestrator.rehearsal.report import VERSION, LeftOut, Looked, PhaseTime, Report
from tranship.orchestrator.rehearsal.sample import Part
from tranship.orchestrator.reports.advice import to_type
from tranship.orchestrator.reports.checked import named
from tranship.orchestrator.reports.keynames import key_text
from tranship.orchestrator.reports.status import Status, utc
from tranship.plans import Plan, resolve, target_endpoint
from tranship.plans.fingerprint import meaning
from tranship.plans.strategies import PhaseName

NOT_ASKED = "approvals: nobody is asked"

BOUNDS = (
    "of a sample only so much is known: values that do not fit, documents for quarantine and divergences are those "
    "among the documents that were looked at",
    "values that a unique column holds twice are found where both documents are in the sample: there may be more",
    "references were looked up in the whole source",
)
"""What is to be known of the figures of a sample."""


@dataclass(frozen=True)
class Attempt:
    """A rehearsal that was carried out. `status`: as it stood before it was taken back. `steps`: when the units of a
    phase's work were done."""

    run: str
    state: State
    status: Status
    phases: Sequence[Rehearsed]
    cutover: RehearsedCutover
    steps: Mapping[str, Sequence[float]]
    parts: Mapping[str, Part]
    not_rehearsed: tuple[str, ...]

    @property
    def failed(self) -> Finding | None:
        """At what of one stream it failed."""
        return next((phase.failed for phase in self.phases if phase.failed is not None), None)

    @property
    def sampled(self) -> set[str]:
        """Streams of which only a part was looked at."""
        return {name for name, part in self.parts.items() if not part.whole}


def thresholds(plan: Plan) -> dict[str, float]:
    """What a plan allows: by these a dry run says whether a run may start."""
    return {
        "limits.misfit": plan.limits.misfit,
        "cutover.max_quarantined": plan.cutover.max_quarantined,
        "reconcile.max_divergences": plan.reconcile.max_divergences,
    }


def refused(session: Session, found: Sequence[Finding]) -> Report:
    """Of a plan that cannot be rehearsed: nothing was made."""
    # By this machine's clock: the target may not have answered. Such a report lets no run begin anyway.
    return _report(session, found, [f"{f.code}: {f.message}" for f in found if f.severity == "error"], time.time())


def reported(
    session: Session,
    shadow: Session,
    attempt: Attempt,
    found: Sequence[Finding],
    left_out: Sequence[LeftOut],
    *,
    keys: bool,
) -> Report:
    """Of one that was carried out. `keys`: whether it names keys, which are people's data."""
    entries = shadow.control.journal(attempt.run)
    cutover = dict(attempt.state.facts.get(PhaseName.FENCE, {}))
    dangling, size, history = (cutover.pop(name, None) for name in ("dangling", "bytes", "history_s"))
    fitting = _fitting(session, attempt, dangling or {})
    why = _end(entries, attempt.state)
    against = [] if why == REASON else [why]
    against += cutover.pop("objections", [])
    against += [f"{one.code}: {one.message}" for one in fitting if one.severity == "error"]
    against += [f"stream {one.stream} was left out: {one.why}" for one in left_out]
    share = _share(attempt)
    times = _phases(entries, attempt.phases)
    seconds = {one.phase: one.seconds for one in times if one.seconds is not None}
    schemas = (shadow.plan.target.schema_name, shadow.plan.target.state_schema)
    steps, workers = attempt.steps, session.plan.limits.workers
    # By the target's clock, as an age is told by it (`run --dry-run-report`).
    report = _report(session, [*found, *fitting], [to_type(one, session.file) for one in against], entries[-1].at)
    return replace(
        report,
        coverage=_coverage(attempt, share),
        sample=tuple(Looked(name, len(p.spans), p.of, p.documents, p.bytes) for name, p in attempt.parts.items()),
        left_out=tuple(replace(one, divergences=_with_keys(one.divergences, keys=keys)) for one in left_out),
        phases=tuple(times),
        seconds=round(sum(seconds.values()), 1),
        projection=project(seconds, steps, workers, share) if why == REASON else None,
        streams=attempt.status.streams,
        dangling=dangling or {},
        divergences=_with_keys(attempt.status.divergences, keys=keys),
        examples=_examples(shadow, attempt) if keys else {},
        cutover=cutover,
        target_bytes=None if size is None else round(size / share),
        history_s=history,
        bounds=BOUNDS if attempt.sampled else (),
        not_rehearsed=(*attempt.not_rehearsed, NOT_ASKED),
        left=() if attempt.state.status in ENDED else tuple(f"{name}: {attempt.state.reason}" for name in schemas),
    )


def _report(session: Session, found: Sequence[Finding], against: Sequence[str], at: float) -> Report:
    source, target = _identities(session)
    return Report(
        version=VERSION,
        taken_at=utc(at),
        plan=session.plan.name,
        source=source,
        target=target,
        meaning=meaning(session.plan),
        thresholds=thresholds(session.plan),
        may_start=not against,
        against=tuple(against),
        findings=named(found),
        ddl=schema_script(target_endpoint(session.plan), resolve(session.plan), rollback=False),
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


def _fitting(session: Session, attempt: Attempt, dangling: Mapping[str, Mapping[str, int]]) -> list[Finding]:
    found = fit_findings(session.plan, attempt.cutover.seen, attempt.sampled)
    for stream, columns in dangling.items():
        found += [dangling_finding(stream, column, rows) for column, rows in columns.items() if rows]
    return [*found, attempt.failed] if attempt.failed is not None else found


def _end(entries: Sequence[Entry], state: State) -> str:
    """Why it ended: what comes after the first stop only takes everything back."""
    stops = [entry.record for entry in entries if entry.record.kind in (Kind.PAUSED, Kind.HELD, Kind.ROLLBACK)]
    return str(stops[0].data["reason"]) if stops else state.reason


def _with_keys(divergences: Sequence[dict[str, Any]], *, keys: bool) -> tuple[dict[str, Any], ...]:
    return tuple({k: v for k, v in one.items() if keys or k != "key"} for one in divergences)


def _examples(shadow: Session, attempt: Attempt) -> dict[str, dict[str, list[str]]]:
    streams = {stream.name: stream for stream in shadow.streams}

    def texts(named: Sequence[tuple[str, Key]]) -> list[str]:
        return [key_text(streams[to], key) for to, key in named]

    found = attempt.cutover.examples
    return {name: {column: texts(some) for column, some in of.items() if some} for name, of in found.items()}


def _coverage(attempt: Attempt, share: float) -> str:
    return f"a sample, {share:.0%} of the bytes" if attempt.sampled else "every document"


def _share(attempt: Attempt) -> float:
    """How much of all bytes was looked at: by the documents that were counted, where there is a count of all, because
    spans are not of one size."""
    looked = whole = 0.0
    for stream in attempt.status.streams:
        part = attempt.parts[stream.stream]
        counted = stream.compared.documents / part.documents if stream.compared and part.documents else part.share
        # Where the streams of a collection are told apart by `where`, the statistics are of all of them.
        near = part.share / 2 <= counted <= part.share * 2 and not part.whole
        looked += max(part.bytes, 1) * (counted if near else part.share)
        whole += max(part.bytes, 1)
    return min(looked / whole, 1.0)


def _phases(entries: Sequence[Entry], phases: Sequence[Rehearsed]) -> list[PhaseTime]:
    """What the phases took by the orchestrator's clock, and from the intent of undoing them to its end by the
    target's."""
    at = {(entry.record.kind, entry.record.phase): entry.at for entry in entries if entry.record.phase is not None}
    found = []
    for phase in phases:
        begin, end = at.get((Kind.UNDO_INTENT, phase.name)), at.get((Kind.UNDONE, phase.name))
        undo = round(end - begin, 3) if begin and end and end >= begin else None
        seconds = None if phase.seconds is None else round(phase.seconds, 3)
        found.append(PhaseTime(phase.name.value, seconds, undo, phase.halfway))
    return found
