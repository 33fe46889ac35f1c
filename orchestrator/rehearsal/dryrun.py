"""Carrying a dry run out: two shadow schemas are made, filled, compared, and removed again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tranship.connectors.protocols import Finding
from tranship.orchestrator import logs
from tranship.orchestrator.engine.session import Session, connections, open_control
from tranship.orchestrator.failpoints import reached
from tranship.orchestrator.journal.control import RequestKind
from tranship.orchestrator.journal.person import person
from tranship.orchestrator.journal.state import ENDED, State
from tranship.orchestrator.phases import PreflightError, Rehearsal
from tranship.orchestrator.rehearsal.judgement import Attempt, refused, reported
from tranship.orchestrator.rehearsal.leftovers import discard, remove
from tranship.orchestrator.rehearsal.phase import Rehearsed, RehearsedCutover
from tranship.orchestrator.rehearsal.report import LeftOut, Report
from tranship.orchestrator.rehearsal.sample import Part, choose, sampled
from tranship.orchestrator.rehearsal.shadow import new_id, shadow_endpoint, shadow_plan, shadow_streams
from tranship.orchestrator.reports.status import Status, status_of

if TYPE_CHECKING:
    from tranship.orchestrator.engine.engine import Engine

Shown = Callable[[Session, "Engine"], AbstractContextManager[None]]
"""Shows an engine at work, and takes its signals."""


@dataclass
class _Rehearsal:
    """One dry run. `left_out`: streams that are not looked at any more."""

    session: Session
    shown: Shown
    share: float
    seed: int
    keys: bool
    found: list[Finding]
    left_out: dict[str, LeftOut] = field(default_factory=dict)


def rehearse(session: Session, shown: Shown, share: float = 1.0, seed: int = 0, *, keys: bool = False) -> Report:
    """Rehearse a session's plan on a share of its documents (1: all of them). Both sides are as before when it ends,
    but where the report says what is left. `keys`: whether the report names keys.

    A stream that cannot be moved is left out, and the others are rehearsed without it: of one that turns out to be so
    on the way, the rehearsal begins anew.
    """
    found = session.look()
    if not any(finding.severity == "error" and not finding.stream for finding in found):
        found += _seen_outside(session)
    errors = [finding for finding in found if finding.severity == "error"]
    rehearsal = _Rehearsal(session, shown, share, seed, keys, found)
    for finding in errors:
        left_out = LeftOut(finding.stream, f"{finding.code}: {finding.message}")
        rehearsal.left_out.setdefault(finding.stream, left_out)
    if "" in rehearsal.left_out or _nothing_left(rehearsal):
        return refused(session, found)
    remove(session)  # what a killed one has left
    while True:
        report, failed = _attempt(rehearsal)
        if failed is None or failed.stream in rehearsal.left_out or report.left:
            return report
        if len(rehearsal.left_out) + 1 == len(session.streams):
            return report
        rehearsal.found.append(failed)
        mine = tuple(one for one in report.divergences if one["stream"] == failed.stream)
        rehearsal.left_out[failed.stream] = LeftOut(failed.stream, f"{failed.code}: {failed.message}", mine)


def _nothing_left(rehearsal: _Rehearsal) -> bool:
    return all(stream.name in rehearsal.left_out for stream in rehearsal.session.streams)


def _attempt(rehearsal: _Rehearsal) -> tuple[Report, Finding | None]:
    """Rehearse what is not left out: the report, and at what of one stream it failed."""
    session = rehearsal.session
    plan = shadow_plan(session.plan, new_id())
    streams = shadow_streams(plan, rehearsal.left_out)
    with open_control(shadow_endpoint(plan, session.plan)) as control:
        connect = connections(plan, streams, logs.default_format())
        with closing(connect.source()) as source:
            parts = choose(source, streams, rehearsal.share, rehearsal.seed, plan.limits.chunk)
        shadow = Session(plan, streams, sampled(connect, parts), control, session.file)
        try:
            run = shadow.begin()
        except PreflightError as error:
            return refused(session, error.findings), None
        except KeyboardInterrupt:
            discard(session, control, shadow_endpoint(plan, session.plan))  # before the engine takes signals
            raise
        try:
            attempt = _carry_out(shadow, run, rehearsal.shown, parts)
        except PreflightError as error:  # what only a run can try
            shadow.purge()
            return refused(session, error.findings), None
        left_out = tuple(rehearsal.left_out.values())
        report = reported(session, shadow, attempt, rehearsal.found, left_out, keys=rehearsal.keys)
        reached("rehearsal.before_removal")
        if attempt.state.status in ENDED:
            shadow.purge()
    return report, attempt.failed


def _carry_out(shadow: Session, run: str, shown: Shown, parts: Mapping[str, Part]) -> Attempt:
    """The run to its rollback, which comes at its end, or where it failed or was interrupted."""
    looked: list[Status] = []
    engine = shadow.engine()
    phases = [Rehearsed(phase) for phase in engine.phases.values() if phase.rehearsal is not Rehearsal.MEASURED]
    cutover = RehearsedCutover(lambda: looked.append(status_of(shadow, run)))
    not_rehearsed = [line for phase in engine.phases.values() for line in phase.not_rehearsed]
    engine.phases.update({phase.name: phase for phase in phases} | {cutover.name: cutover})
    state = _executed(shadow, engine, run, shown)
    if not looked:
        looked.append(status_of(shadow, run))
    if state.status not in ENDED:
        shadow.control.request(run, RequestKind.ROLLBACK)
        again = shadow.engine()
        again.phases.update(engine.phases)
        state = _executed(shadow, again, run, shown)
    steps = {phase.name.value: engine.work.steps(phase.name.value) for phase in phases}
    return Attempt(run, state, looked[0], phases, cutover, steps, parts, tuple(not_rehearsed))


def _executed(shadow: Session, engine: Engine, run: str, shown: Shown) -> State:
    with shown(shadow, engine):
        return engine.execute(run, person(), held_too=True)


def _seen_outside(session: Session) -> list[Finding]:
    with closing(session.connect.schema()) as schema:
        return schema.may_shadow()
