"""The engine's inbox: requests of other processes, each answered by exactly one record.

A request is consumed in the transaction that appends the record, so it is never answered twice and never lost. Those
that stop what is going on are raised as `InterruptedRunError` and answered by the engine once the phase has stopped.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from tranship.orchestrator.dataplane.requeue import requeue
from tranship.orchestrator.dataplane.run import Run
from tranship.orchestrator.journal.book import Book
from tranship.orchestrator.journal.control import Request, RequestKind
from tranship.orchestrator.journal.records import Kind, Record
from tranship.orchestrator.journal.state import ENDED, PhaseStatus, RunStatus, State
from tranship.orchestrator.phases.record import against_switch
from tranship.plans.strategies import Group, Stage, Trait, is_pivot, stage_of


class InterruptedRunError(Exception):
    """A request or a signal asks the running phase to stop; `kind` is the record that follows."""

    def __init__(self, kind: Kind, reason: str, request: Request | None = None, phase: Stage | None = None) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason
        self.request = request
        self.phase = phase


_INTERRUPTS = {
    RequestKind.PAUSE: Kind.PAUSED,
    RequestKind.ROLLBACK: Kind.ROLLBACK,
    RequestKind.RESEED: Kind.RESEED,
}


_APPROVALS = frozenset({RequestKind.APPROVE, RequestKind.REHEARSE})


@dataclass(frozen=True)
class Inbox:
    """Answers the requests to one run."""

    book: Book
    run: Run

    def answer_all(self) -> None:
        """Answer what has come, oldest first. Raises `InterruptedRunError` for one that stops the phase.

        While only a server knows whether the switch took place nothing is answered: it would be by a guess.
        """
        if self.book.state.pivoting:
            return
        for request in self.book.control.requests(self.book.run):
            self._answer(request)

    def drop(self, kind: RequestKind) -> None:
        """Answer what has come of a kind with nothing: it has been done."""
        for request in self.book.control.requests(self.book.run):
            if request.kind is kind:
                self._ignore(request, "it has been done")

    def _ignore(self, request: Request, why: str) -> None:
        data = {"reason": f"{request.kind} has no effect: {why}", "by": request.by}
        self.book.write(Record(Kind.IGNORED, data=data), request)

    def _answer(self, request: Request) -> None:
        refusal = self._refusal(request)
        if refusal is not None:
            self._ignore(request, refusal)
        elif request.kind in _APPROVALS:
            state = self.book.state
            data = {"by": request.by, "asked": state.asking}
            if request.kind is RequestKind.REHEARSE:
                data["rehearsal"] = True
            self.book.write(Record(Kind.APPROVED, state.asked, data), request)
        elif request.kind is RequestKind.WITHDRAW:
            phase = withdrawable(self.book.state)
            raise InterruptedRunError(Kind.APPROVAL_WITHDRAWN, f"withdrawn by {request.by}", request, phase)
        elif request.kind is RequestKind.REPAIR:
            self._repair(request)
        elif request.kind is RequestKind.RETRY:
            self._retry(request)
        else:
            raise InterruptedRunError(_INTERRUPTS[request.kind], f"asked by {request.by}", request)

    def _refusal(self, request: Request) -> str | None:
        """Why a request makes no sense now, or None."""
        state = self.book.state
        if state.status is not RunStatus.RUNNING and request.kind is not RequestKind.PAUSE:
            return f"the run is {state.status}"
        if request.kind in _APPROVALS:
            if request.kind is RequestKind.REHEARSE and not is_pivot(state.asked):
                return "only a cutover that waits for its approval can be rehearsed"
            if request.asking is not None and request.asking == state.asking:
                return self._unapprovable(state.asked)
            return "what it answers is not asked any more" + (f"; {state.asked} is asked anew" if state.asked else "")
        if request.kind is RequestKind.WITHDRAW:
            return None if withdrawable(state) else "nothing is approved that can still be taken back"
        return refusal(request.kind, state)

    def _unapprovable(self, phase: Stage | None) -> str | None:
        """What is known must count: nobody approves a switch over what is known to be wrong."""
        if not is_pivot(phase):
            return None
        return against_switch(self.run.progress, self.run.scope, self.run.plan, self.run.streams)

    def _repair(self, request: Request) -> None:
        """Mark what the last reconcile found dirty; the applier does the rest."""
        found = self.run.progress.divergences(self.run.scope)
        self.run.progress.mark_dirty(self.run.scope, [(d.stream, d.key) for d in found])
        self.book.write(Record(Kind.REPAIR, data={"keys": len(found), "by": request.by}), request)

    def _retry(self, request: Request) -> None:
        """Mark what is in quarantine dirty; the applier does the rest."""
        streams = [stream for stream in self.run.streams if request.stream in (None, stream.name)]
        requeued = requeue(self.run.progress, self.run.scope, streams)
        data = {**asdict(requeued), "streams": [stream.name for stream in streams], "by": request.by}
        self.book.write(Record(Kind.RETRY, data=data), request)


def withdrawable(state: State) -> Stage | None:
    """What is approved and has not begun, or is a group before its pivot; None when there is none."""
    phase = state.current
    if state.status is not RunStatus.RUNNING or phase is None or stage_of(phase) not in state.approved:
        return None
    stage, begun = stage_of(phase), state.of(phase) is not PhaseStatus.PENDING
    if isinstance(stage, Group):
        return stage if not state.switched and not state.pivoting else None
    return None if begun else stage


_APPLYING = frozenset({RequestKind.REPAIR, RequestKind.RESEED, RequestKind.RETRY})


def refusal(kind: RequestKind, state: State) -> str | None:
    """Why a request cannot be answered in this state, or None. Nothing of a run that rests is against it."""
    unread, unfollowed = not state.latest.begun(Trait.READS), not state.following
    against = (
        (kind is RequestKind.ROLLBACK and state.switched, "after the switch a rollback would lose the target's writes"),
        (kind in _APPLYING and state.switched, "after the switch nothing is applied any more"),
        (kind in _APPLYING and (state.status in ENDED or state.undoing), "the run is rolled back"),
        (kind is RequestKind.RETRY and unread, "the backfill has not begun, so nothing is in quarantine yet"),
        (
            kind is RequestKind.RESEED and unfollowed,
            "the source is not followed yet, so no position can be lost",
        ),
    )
    return next((why for holds, why in against if holds), None)
