"""Cutover for writers that the operator has stopped (`fence: external`).

tranship raises no fence itself: it proves that nobody writes. The order:
1. Past a marker: no event of a migrated collection for the stated time, and everything applied: the cheap proof, while
   all goes on.
2. Seal: the applier ends, under a new epoch. From here on nothing of ours changes the target, so that what is proven
   stays true, and the switch can never be followed by a late change of the source (`rules.md` I5).
3. Past a marker nothing is left to apply; every key touched since the full reconcile, and every one on record as
   different, is compared (`final: touched`), or every row (`final: full`).
4. Past another marker nobody has written since 3 began. Then the switch is written.
Until that record stands everything can be taken back; while writes still come the phase refuses and has done nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from tranship.orchestrator.dataplane import reconcile
from tranship.orchestrator.dataplane.drain import drain, pass_marker
from tranship.orchestrator.dataplane.run import Run
from tranship.orchestrator.failpoints import reached
from tranship.orchestrator.journal.records import Kind, Record
from tranship.orchestrator.phases import (
    Diverged,
    DivergedError,
    RefusedToActError,
    Rehearsal,
    Verdict,
    Verified,
    observed,
)
from tranship.orchestrator.phases.record import against_switch, known_divergences
from tranship.plans.strategies import PhaseName

DRAIN_LIMIT_S = 60.0
MARKER_LIMIT_S = 30.0


class Cutover:
    """Proves that the target holds everything, then switches. The engine calls `do` twice: until the seal, and behind
    it."""

    name = PhaseName.CUTOVER
    rehearsal = Rehearsal.MEASURED
    not_rehearsed: tuple[str, ...] = (
        "stopping the writers: nobody is stopped, and the quiet time is not waited for",
        "the seal and the switch: nothing is sealed, and no application is told anything",
    )

    def do(self, run: Run) -> Iterator[Record]:
        try:
            yield from self._switch(run) if run.sealed else self._seal(run)
        except TimeoutError as error:
            raise RefusedToActError(f"the cutover was not carried out: {error}; nothing was switched") from error

    def _seal(self, run: Run) -> Iterator[Record]:
        if not run.progress.backlog(run.scope).dirty:  # else what is kept aside may be about to come in
            _check_quarantine(run)
        _check_record(run)
        _check_strangers(run)
        _prove_quiet(run)
        reached("cutover.after_quiet")
        drain(run, DRAIN_LIMIT_S)
        yield Record(Kind.SEALED, self.name)

    def _switch(self, run: Run) -> Iterator[Record]:
        began = run.clock.now()
        reached("cutover.after_seal")
        _prove_still(run)
        result = last_comparison(run)
        if result.moving:
            raise RefusedToActError(f"{len(result.moving)} keys still change on one side; nothing was switched")
        yield observed(self.name, compared=result.total.documents, divergences=len(result.divergences))
        if len(result.divergences) > run.plan.reconcile.max_divergences:
            raise DivergedError(f"{len(result.divergences)} of the compared rows diverge; `tranship status` names them")
        _prove_still(run, since=began)
        # Again: what came last may be kept aside (C6), and a comparison beside this run may have found something.
        _check_quarantine(run)
        _check_record(run)
        _check_strangers(run)
        reached("cutover.before_switch")
        yield Record(Kind.SWITCHED, self.name, {"fence": run.plan.cutover.fence})

    def verify(self, run: Run) -> Verdict:
        """Nothing has been written to the source since the switch."""
        pass_marker(run, MARKER_LIMIT_S)
        rogue = run.progress.backlog(run.scope).dirty
        if rogue:
            return Diverged(f"{rogue} keys were written on the source after the switch; stop those writers and decide")
        return Verified()

    def undo(self, run: Run) -> Iterator[Record]:  # noqa: ARG002
        # Before the switch nothing was changed; after it the engine refuses to undo.
        yield from ()


def last_comparison(run: Run) -> reconcile.Reconciled:
    """Compare what the plan says is compared last, and put on record what is found."""
    target = run.connect.target(run.scope)
    try:
        look = reconcile.full if run.plan.cutover.final == "full" else reconcile.touched
        result = look(run, target)
    finally:
        target.close()
        run.release_workers()
    result.note(run.progress, run.scope)
    return result


def objections(run: Run) -> list[str]:
    """What would keep a cutover from happening now, beside writers and what fits the plan badly."""
    known = known_divergences(run.progress, run.scope, run.plan)
    found = [known] if known is not None else []
    for check in (_check_quarantine, _check_strangers):
        try:
            check(run)
        except RefusedToActError as error:
            found.append(str(error))
    return found


def _check_quarantine(run: Run) -> None:
    kept = sum(run.progress.quarantine_count(run.scope).values())
    allowed = run.plan.cutover.max_quarantined
    if kept > allowed:
        raise RefusedToActError(
            f"{kept} documents are in quarantine and cutover.max_quarantined allows {allowed}; "
            "`tranship quarantine list` names them"
        )


def _check_strangers(run: Run) -> None:
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


def _check_record(run: Run) -> None:
    known = against_switch(run.progress, run.scope, run.plan, run.streams)
    if known is not None:
        raise RefusedToActError(known)


def _prove_quiet(run: Run) -> None:
    """No event of a migrated collection for `cutover.quiet`, up to where capture has looked."""
    wanted, limit = run.plan.cutover.quiet, run.plan.cutover.deadline
    # Before it, capture may have looked last before a pause: the quiet time that it knows of would be that of then.
    pass_marker(run, MARKER_LIMIT_S)

    def quiet() -> bool:
        backlog = run.progress.backlog(run.scope)
        return backlog.quiet_s - backlog.capture_age_s >= wanted

    try:
        run.wait(quiet, limit + wanted, f"{wanted:g} s without a write to a migrated collection")
    except TimeoutError as error:
        raise RefusedToActError(
            f"the source is still written to ({error}). Nothing was changed and the target keeps following. "
            "Stop the writers, then approve the cutover again."
        ) from error


def _prove_still(run: Run, since: float | None = None) -> None:
    """Past a marker nothing is left to apply, and nothing has come `since`: nobody wrote after all was applied."""
    pass_marker(run, MARKER_LIMIT_S)
    backlog = run.progress.backlog(run.scope)
    written = since is not None and backlog.quiet_s < run.clock.now() - since
    if backlog.dirty or written:
        raise RefusedToActError("a write came to the source during the cutover; nothing was switched")
