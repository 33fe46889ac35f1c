"""Carrying a dry run out: two shadow schemas are made, filled, compared, and removed again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from typing import TYPE_CHECKING

from tranship.connectors.protocols import Finding
from tranship.orchestrator import logs
from tranship.orchestrator.engine.session import Session, connections, open_control
from tranship.orchestrator.failpoints import reached
from tranship.orchestrator.journal.control import RequestKind
from tranship.orchestrator.journal.person import person
from tranship.orchestrator.journal.state import ENDED, State
from tranship.orchestrator.phases import PreflightError
from tranship.orchestrator.rehearsal.leftovers import remove
from tranship.orchestrator.rehearsal.phase import RehearsedCutover
from tranship.orchestrator.rehearsal.report import Report, refused, reported
from tranship.orchestrator.rehearsal.shadow import new_id, shadow_endpoint, shadow_plan
from tranship.orchestrator.reports.status import Status, status_of
from tranship.plans import resolve

if TYPE_CHECKING:
    from tranship.orchestrator.engine.engine import Engine

Shown = Callable[[Session, "Engine"], AbstractContextManager[None]]
"""Shows an engine at work, and takes its signals."""


def rehearse(session: Session, shown: Shown) -> Report:
    """Rehearse a session's plan. Both sides are as before when it ends, but where the report says what is left."""
    found = session.findings(session.active() or "") + _seen_outside(session)
    if any(finding.severity == "error" for finding in found):
        return refused(session, found)
    remove(session)  # what a killed one has left
    plan = shadow_plan(session.plan, new_id())
    streams = resolve(plan)
    with open_control(shadow_endpoint(plan, session.plan)) as control:
        connect = connections(plan, streams, logs.default_format())
        shadow = Session(plan, streams, connect, control, session.file)
        looked: list[Status] = []
        try:
            run = shadow.begin()
        except PreflightError as error:
            return refused(session, error.findings)
        except KeyboardInterrupt:
            remove(session)  # before the engine takes signals, no lease is held
            raise
        state = _carry_out(shadow, run, lambda: looked.append(status_of(shadow, run)), shown)
        report = reported(session, shadow, run, found, looked[0] if looked else status_of(shadow, run))
        reached("rehearsal.before_removal")
        if state.status in ENDED:
            shadow.purge()
    return report


def _carry_out(shadow: Session, run: str, look: Callable[[], None], shown: Shown) -> State:
    """The run to its rollback, which comes at its end, or where it failed or was interrupted."""
    state = _executed(shadow, run, look, shown)
    if state.status not in ENDED:
        shadow.control.request(run, RequestKind.ROLLBACK)
        state = _executed(shadow, run, look, shown)
    return state


def _executed(shadow: Session, run: str, look: Callable[[], None], shown: Shown) -> State:
    engine = shadow.engine()
    cutover = RehearsedCutover(look)
    engine.phases[cutover.name] = cutover
    with shown(shadow, engine):
        return engine.execute(run, person(), held_too=True)


def _seen_outside(session: Session) -> list[Finding]:
    with closing(session.connect.schema()) as schema:
        return schema.may_shadow()
