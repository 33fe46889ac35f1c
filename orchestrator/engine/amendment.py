"""A plan that changed while its run is alive: what may be taken on, and how.

Only one change of meaning leaves every loaded row right: a stream's `rest` that becomes more lenient. Documents that
were accepted have the same rows under each policy; those in quarantine are read anew. So their keys are marked dirty
*before* the record of the change: after a crash in between they are marked once more, which does no harm, whereas a
record without the marks would let reconcile find them all divergent.
"""

from __future__ import annotations

import structlog

from tranship.connectors.errors import RefusedError, TransientError
from tranship.orchestrator.dataplane.requeue import requeue
from tranship.orchestrator.dataplane.run import Run
from tranship.orchestrator.journal.book import Book
from tranship.orchestrator.journal.control import RequestKind
from tranship.orchestrator.journal.records import Kind, Record
from tranship.plans.fingerprint import differences, fingerprint_of, meaning_document, relaxed

log = structlog.get_logger(__name__)

MAY_CHANGE = (
    "Addresses, limits and deadlines may change, and `rest` may become more lenient (fail → quarantine → residue)."
)


class PlanChangedError(Exception):
    """The plan's meaning, or the servers it names, differ from what the run was started with."""


def goes_back(book: Book) -> bool:
    """Whether the run is undone, or is asked to be: then it needs no source any more."""
    asked = any(request.kind is RequestKind.ROLLBACK for request in book.control.requests(book.run))
    return book.state.undoing or (asked and not book.state.switched and not book.state.pivoting)


def check_plan(book: Book, run: Run) -> bool:
    """Compare the plan with what the run was started with, and take on a more lenient `rest`.

    False when a run that goes back could not ask its servers who they are.

    Raises `PlanChangedError` for any other change of meaning, and for that one after the switch. While a run is undone
    the plan is left as it is: what is undone does not depend on `rest`.
    """
    state = book.state
    old, new = dict(state.meaning), meaning_document(run.plan)
    try:
        servers = run.source.identity(), run.schema.identity()
    except (TransientError, RefusedError) as error:  # away, or a user that was dropped
        if old == new and goes_back(book):
            log.warning(
                "the servers cannot be asked who they are; what is left to undo does not need it", why=str(error)
            )
            return False
        raise
    if fingerprint_of(new, *servers) == state.fingerprint:
        return True
    changed = differences(old, new)
    streams = relaxed(old, new) if fingerprint_of(old, *servers) == state.fingerprint else ()
    if not streams:
        what = "; ".join(changed) if changed else "the plan is the same, but it points at other servers"
        raise PlanChangedError(
            f"run {state.run} was started with another meaning: {what}. Nothing was changed. Put the plan "
            f"back, to go on or to roll the run back before a new one. {MAY_CHANGE}"
        )
    if state.undoing:
        return True
    if state.switched or state.pivoting:
        raise PlanChangedError(
            f"run {state.run} has switched, or may have: nothing is applied any more, so {'; '.join(changed)} would "
            "have no effect. Nothing was changed. Put the plan back."
        )
    run.patience.call(lambda: requeue(run.progress, run.scope, [run.by_name[name] for name in streams]))
    data = {"fingerprint": fingerprint_of(new, *servers), "meaning": new, "changed": changed}
    book.write(Record(Kind.AMENDED, data=data))
    return True
