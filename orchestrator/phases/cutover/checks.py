"""What would keep a cutover from happening, and what is looked at before it and again before its pivot."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from tranship.connectors.protocols import Progress, Scope, TargetSchema
from tranship.orchestrator.dataplane.drain import pass_marker
from tranship.orchestrator.dataplane.run import Run
from tranship.orchestrator.phases import RefusedToActError
from tranship.orchestrator.phases.record import against_switch, known_divergences
from tranship.plans import Plan
from tranship.plans.streams import Stream

DRAIN_LIMIT_S = 60.0
MARKER_LIMIT_S = 30.0


class Subject(Protocol):
    """A run as far as these checks look at it; `Run` is one."""

    @property
    def plan(self) -> Plan: ...

    @property
    def streams(self) -> tuple[Stream, ...]: ...

    @property
    def scope(self) -> Scope: ...

    @property
    def progress(self) -> Progress: ...

    @property
    def schema(self) -> TargetSchema: ...


@contextmanager
def refusing() -> Iterator[None]:
    """What does not come in time is no failure of the run: the attempt is over, and nothing was switched."""
    try:
        yield
    except TimeoutError as error:
        raise RefusedToActError(f"the cutover was not carried out: {error}; nothing was switched") from error


def check_all(run: Subject) -> None:
    """Raise `RefusedToActError` for what is against a switch."""
    check_quarantine(run)
    check_record(run)
    check_strangers(run)


def prove_still(run: Run) -> None:
    """Past a marker nothing is left to apply."""
    pass_marker(run, MARKER_LIMIT_S)
    if run.progress.backlog(run.scope).dirty:
        raise RefusedToActError("a write came to the source during the cutover; nothing was switched")


def objections(run: Subject) -> list[str]:
    """What would keep a cutover from happening now, beside writers and what fits the plan badly."""
    known = known_divergences(run.progress, run.scope, run.plan)
    found = [known] if known is not None else []
    for check in (check_quarantine, check_strangers):
        try:
            check(run)
        except RefusedToActError as error:
            found.append(str(error))
    return found


def check_quarantine(run: Subject) -> None:
    kept = sum(run.progress.quarantine_count(run.scope).values())
    allowed = run.plan.cutover.max_quarantined
    if kept > allowed:
        raise RefusedToActError(
            f"{kept} documents are in quarantine and cutover.max_quarantined allows {allowed}; "
            "`tranship quarantine list` names them"
        )


def check_strangers(run: Subject) -> None:
    """What others have hung on the tables since the run began holds rows, or may act on them."""
    parked = run.progress.parked(run.scope)
    if parked:
        held = ", ".join(f"{count} keys by rows of {table}" for table, count in parked.items())
        raise RefusedToActError(
            f"rows that have to change are held by foreign keys: {held}. Nothing was switched. Delete those rows, or "
            "drop the foreign key"
        )
    errors = [found for found in run.schema.may_move(run.streams, run.scope.run) if found.severity == "error"]
    if errors:
        raise RefusedToActError("; ".join(f"{found.message}. {found.hint}" for found in errors))


def check_record(run: Subject) -> None:
    known = against_switch(run.progress, run.scope, run.plan, run.streams)
    if known is not None:
        raise RefusedToActError(known)
