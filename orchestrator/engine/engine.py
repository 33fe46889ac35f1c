"""The engine: carries a run from its journal to its end.

One loop: tick (lease, services, requests), ask the folded state what is next, do that, append what happened. It holds
no state of its own that the journal does not have, so a crash at any point is followed by the same decisions. An intent
is committed before a phase acts, and the phase then looks at the world instead of trusting that nothing was done.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import structlog

from tranship.connectors.errors import AmbiguousCommitError, ConnectorError, RefusedError, TransientError
from tranship.connectors.protocols import Scope
from tranship.orchestrator.clock import Clock, MonotonicClock
from tranship.orchestrator.dataplane import reseed
from tranship.orchestrator.dataplane.run import POLL_S, Connect, Run
from tranship.orchestrator.dataplane.work import Work
from tranship.orchestrator.engine import recognition
from tranship.orchestrator.engine.amendment import check_plan
from tranship.orchestrator.engine.inbox import Inbox, InterruptedRunError
from tranship.orchestrator.engine.outcomes import Failure, Outcome, classify, named_rows
from tranship.orchestrator.failpoints import reached
from tranship.orchestrator.journal import steps
from tranship.orchestrator.journal.book import Book
from tranship.orchestrator.journal.control import Control, Request, RequestKind
from tranship.orchestrator.journal.fold import fold_all
from tranship.orchestrator.journal.records import VERSION, Kind, Record
from tranship.orchestrator.journal.state import ENDED, RunStatus, ServiceName, State
from tranship.orchestrator.journal.steps import Close, Do, Reseed, Step, Stop, Undo, Verify, Wait, next_step, services
from tranship.orchestrator.logs import without_secrets
from tranship.orchestrator.phases import Diverged, Lift, Phase
from tranship.orchestrator.phases.registry import LIFTS, PHASES
from tranship.orchestrator.pulse import Pulse
from tranship.orchestrator.retry import Outages, Patience
from tranship.orchestrator.services import ServiceFailedError, Setting, Supervisor, applier, capture, reconciler
from tranship.orchestrator.services.heartbeat import Heartbeat
from tranship.plans import Plan
from tranship.plans.fingerprint import fingerprint, meaning_document
from tranship.plans.strategies import STRATEGIES, TRAITS, Group, PhaseName, Stage, Trait, begins, is_pivot, stage_of
from tranship.plans.streams import Stream

log = structlog.get_logger(__name__)

BODIES = {
    ServiceName.CAPTURE: capture.body,
    ServiceName.APPLIER: applier.body,
    ServiceName.RECONCILER: reconciler.body,
}


UNKNOWN_PIVOT = (
    "whether the switch took place is not known: only the source's routing record says so, and it could not be read. "
    "Let no application write anywhere until `tranship resume` has read it"
)


@dataclass
class Engine:
    """Executes one run. `interrupt` is set by a signal handler and pauses the run at its next tick."""

    plan: Plan
    streams: tuple[Stream, ...]
    connect: Connect
    control: Control
    lease_s: float
    clock: Clock = field(default_factory=MonotonicClock)
    interrupt: threading.Event = field(default_factory=threading.Event)
    phases: dict[PhaseName, Phase] = field(default_factory=lambda: dict(PHASES))
    lifts: dict[Group, Lift] = field(default_factory=lambda: dict(LIFTS))
    rehearsed: str = ""
    """SHA-256 of the dry run's report by which a run of this engine begins."""

    patience: Patience = field(init=False)
    work: Work = field(init=False)
    pulse: Pulse = field(default_factory=Pulse, init=False)
    _book: Book | None = field(default=None, init=False)
    _run: Run | None = field(default=None, init=False)
    _supervisor: Supervisor | None = field(default=None, init=False)
    _heartbeat: Heartbeat | None = field(default=None, init=False)
    _outages: Outages = field(default_factory=Outages, init=False)
    _refusal: BaseException | None = field(default=None, init=False)
    _recognised: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.patience = Patience(self.plan.limits.patience)
        self.work = Work(self.clock.now)

    # --- beginning and end ----------------------------------------------------------------------------------------

    def execute(self, run: str, by: str, *, held_too: bool = False) -> State:
        """Carry the run on until it ends, pauses or is held; returns the state then.

        A paused run goes on; a held one only with `held_too`: a person has looked. Raises `LeaseHeldError` when another
        orchestrator works on the run, `LeaseLostError` when one took over, `PlanChangedError` and `PreflightError` with
        nothing changed. A connection that is lost is retried, then the run pauses.
        """
        self.control.acquire(run, self.lease_s)
        self._heartbeat = Heartbeat(self.control, run, self.lease_s, self.work)
        try:
            self._begin(run)
            self._resume(by, held_too=held_too)
            self._loop()
        finally:
            self._close_run()
            self._heartbeat.close()
            # Also after a refusal, so that the next command need not wait. If this fails too, the lease ends by itself.
            with suppress(ConnectorError):
                self.control.release(run)
        if self._refusal is not None:
            raise self._refusal
        return self.state

    def _begin(self, run: str) -> None:
        self.patience.call(lambda: self.control.upgrade(run))
        self._book = Book.open(self.control, run, self.patience)
        if self.state.status in ENDED:
            return  # by another orchestrator, while we waited for its lease: nothing may follow its last record
        self._open_run()
        if not self.state.run:
            self._create(run)
        self.book.write_claim(self._current.source.projection)
        if check_plan(self.book, self._current):
            recognition.check_target(self._current, lambda name: fold_all(e.record for e in self.control.journal(name)))

    def _resume(self, by: str, *, held_too: bool) -> None:
        resumable = {RunStatus.PAUSED, RunStatus.HELD} if held_too else {RunStatus.PAUSED}
        if self.state.status in resumable:
            self.book.write(Record(Kind.RESUMED, data={"by": by}))

    def _create(self, run: str) -> None:
        source, target = self._current.source.identity(), self._current.schema.identity()
        data = {
            "version": VERSION,
            "run": run,
            "id": uuid.uuid4().hex,
            "collections": self._current.source.collections(self.streams),
            "phases": list(STRATEGIES[self.plan.strategy]),
            "approvals": list(self.plan.approval),
            "fingerprint": fingerprint(self.plan, source, target),
            "meaning": meaning_document(self.plan),
        }
        if self.rehearsed:
            data["rehearsed"] = self.rehearsed
        self.book.write(Record(Kind.CREATED, data=data))
        self._current.id = self.state.id

    @property
    def _current(self) -> Run:
        assert self._run is not None, "no run is open"
        return self._run

    @property
    def book(self) -> Book:
        """The run's journal; only after `execute` has begun."""
        assert self._book is not None, "no journal is open"
        return self._book

    @property
    def state(self) -> State:
        """The run's state so far."""
        return self._book.state if self._book is not None else State()

    def _open_run(self) -> None:
        """Open all connections under the book's epoch."""
        self._close_run()
        scope = Scope(self.book.run, self.state.feed, self.book.epoch)
        connect = self.connect.toward(scope.feed)
        self._run = Run(
            id=self.state.id,
            plan=self.plan,
            streams=self.streams,
            scope=scope,
            connect=connect,
            source=connect.source(),
            progress=connect.progress(),
            schema=connect.schema(),
            clock=self.clock,
            patience=self.patience,
            tick=self._tick,
            lanes=self.plan.limits.workers,
            facts=lambda phase: self.state.facts.get(phase, {}),
            work=self.work,
            pulse=self.pulse,
        )
        setting = Setting(connect, scope, self.streams, self.clock, self.patience, self.pulse)
        self._supervisor = Supervisor(setting, dict(BODIES))

    def _close_run(self) -> None:
        if self._supervisor is not None:
            self._supervisor.close()
        if self._run is not None:
            self._run.close()
        self._run = self._supervisor = None

    # --- the loop -------------------------------------------------------------------------------------------------

    def _loop(self) -> None:
        while not isinstance(next_step(self.state), Stop):
            try:
                self._turn()
            except Exception as error:
                if not self._rests():
                    self._stumble(error)
                    continue
                # Paused or held, and the attempt could not be lifted: that is the first thing the next process does.
                log.warning("the attempt is not lifted", reason=without_secrets(str(error)))
                if classify(error).outcome is Outcome.LEAVE:
                    raise
                return

    def _rests(self) -> bool:
        return self.state.status not in (RunStatus.RUNNING, RunStatus.ROLLING_BACK)

    def _turn(self) -> None:
        try:
            # Requests come before services: a reseed must be known before capture looks for the lost position.
            self._tick()
            self._recognise()
            self._services()
            self._take(next_step(self.state))
            self._outages.forget()
            self.work.recovered()
        except InterruptedRunError as interrupted:
            self._interrupted(interrupted)

    def _see_to(self, error: Exception) -> None:
        if self._run is None:
            raise error
        try:
            self._fail(error)
        except InterruptedRunError as interrupted:
            self._interrupted(interrupted)

    def _stumble(self, error: Exception) -> None:
        """See to a failure; one that comes while an epoch is taken, when no connection is open, pauses the run."""
        try:
            self._see_to(error)
        except ConnectorError as again:
            if self._run is not None or classify(again).outcome is Outcome.LEAVE:
                raise
            log.warning("no epoch could be taken", reason=str(again))
            # Under the epoch before, if that still is ours. If nothing can be written, the run is as after a crash.
            with suppress(ConnectorError):
                self.book.write(Record(Kind.PAUSED, data={"reason": str(again)}))
                return
            raise

    def _recognise(self) -> None:
        """Once, before anything follows the source; behind requests, because one may be to go back without it."""
        if not self._recognised:
            recognition.check_source(self._current, self.state)
            self._recognised = True

    def _services(self) -> None:
        assert self._supervisor is not None
        self._supervisor.ensure(services(self.state))

    def _take(self, step: Step) -> None:
        match step:
            case Do(phase):
                self._do(phase)
            case Verify(phase):
                self._verify(phase)
            case Undo(phase):
                self._undo(phase)
            case steps.Lift(group):
                self._lift(group)
            case Wait(stage):
                self._wait(stage)
            case steps.Rehearsed(stage):
                self._rehearsed(stage)
            case Reseed():
                self._reseed()
            case Close(kind):
                self._finish(kind)
            case Stop():
                pass  # a request has just stopped the run; the loop ends

    @contextmanager
    def _bound(self, phase: Stage) -> Iterator[None]:
        with structlog.contextvars.bound_contextvars(phase=phase.value):
            yield

    def _keep(self, records: Iterable[Record]) -> None:
        for record in records:
            self.book.write(record)
            self._tick()

    def _do(self, phase: PhaseName) -> None:
        with self._bound(phase):
            self.work.begin(phase.value)
            if begins(phase):
                self.book.write(Record(Kind.INTENT, phase))
            if Trait.EPOCH in TRAITS[phase]:
                self._take_epoch()
            # Catch-up's intent is what lets the applier run; services follow the state before the phase acts.
            self._services()
            self._keep(self.phases[phase].do(self._current))
            if not is_pivot(phase):  # which ends by what a server says
                self.book.write(Record(Kind.DONE, phase))

    def _verify(self, phase: PhaseName) -> None:
        with self._bound(phase):
            self.work.begin(f"verifying {phase}")
            verdict = self.phases[phase].verify(self._current)
            if isinstance(verdict, Diverged):
                self._diverged(phase, verdict.reason)
            else:
                self.book.write(Record(Kind.VERIFIED, phase))

    def _undo(self, phase: PhaseName) -> None:
        with self._bound(phase):
            self.work.begin(f"undoing {phase}")
            self.book.write(Record(Kind.UNDO_INTENT, phase))
            reached("undo.before")
            for record in self.phases[phase].undo(self._current):
                self.book.write(record)
            reached("undo.after")
            self.book.write(Record(Kind.UNDONE, phase))

    def _lift(self, group: Group) -> None:
        with self._bound(group):
            self.work.begin(f"lifting {group}")
            for record in self.lifts[group].lift(self._current, needed=not self.state.undoing):
                self.book.write(record)

    def _wait(self, stage: Stage) -> None:
        if self.state.asked is not stage:
            self.book.write(Record(Kind.APPROVAL_ASKED, stage))
        self.work.begin(f"waiting for the approval of {stage}")
        while isinstance(next_step(self.state), Wait):
            self._tick()
            self._outages.forget()
            self.clock.sleep(POLL_S)

    def _rehearsed(self, stage: Stage) -> None:
        """All up to the pivot has held: the attempt is over, and lifting it is what comes next."""
        by, waited = self.state.approved[stage].by, self.clock.now() - self._current.fenced_at
        why = f"rehearsed by {by}: the switch would have come {waited:.3f} s behind the fence; it is lifted"
        self.book.write(Record(Kind.APPROVAL_WITHDRAWN, stage, {"reason": why, "rehearsed_s": round(waited, 3)}))

    def _reseed(self) -> None:
        recognition.check_collections(self._current, self.state)
        self.work.begin("reseed")
        marked = reseed.reseed(self._current)
        self.book.write(Record(Kind.RESEEDED, data={"marked": marked}))

    def _finish(self, kind: Kind) -> None:
        if kind is Kind.FINISHED:
            assert self._supervisor is not None
            self._supervisor.close()
            try:
                self._current.source.drop_markers(self._current.id)
            except RefusedError as error:  # a source that is closed to all writes must not keep the run from its end
                log.warning("the source is closed: it keeps markers", reason=str(error))
        self.book.write(Record(kind))

    # --- requests, signals, failures ------------------------------------------------------------------------------

    def _tick(self) -> None:
        """What must be looked at all the time; raises when the running phase has to stop."""
        assert self._heartbeat is not None
        assert self._supervisor is not None
        self._heartbeat.check()
        if self.state.pivoting:
            return  # nothing may come between the pivot and the look at what the server made of it
        self._supervisor.check()
        self._check_interrupt()
        Inbox(self.book, self._current).answer_all()

    def _check_interrupt(self) -> None:
        if self.interrupt.is_set():
            self.interrupt.clear()
            raise InterruptedRunError(Kind.PAUSED, "interrupted; `tranship run` goes on")

    def _interrupted(self, interrupted: InterruptedRunError) -> None:
        self._current.release_workers()
        if self.state.pivoting:  # while its outcome could not be read, which is all that can be said
            self._hold_unknown(interrupted.reason)
        elif interrupted.kind is Kind.ROLLBACK:
            self._roll_back(interrupted.reason, interrupted.request)
        else:
            data = {"reason": interrupted.reason}
            self.book.write(Record(interrupted.kind, interrupted.phase, data), interrupted.request)
            self._after_interruption(interrupted.kind)

    def _after_interruption(self, kind: Kind) -> None:
        if kind is Kind.RESEED:
            self._take_epoch()  # what was read before the new position must not be committed behind it
        elif kind is Kind.PAUSED:
            # Else the next process would be paused at once by a request that came twice.
            Inbox(self.book, self._current).drop(RequestKind.PAUSE)

    def _roll_back(self, reason: str, request: Request | None = None) -> None:
        """Undo begins with a new epoch: a late transaction of ours must not recreate what is undone (`rules.md` F4)."""
        self.book.write(Record(Kind.ROLLBACK, data={"reason": reason}), request)
        self._take_epoch()

    def _take_epoch(self) -> None:
        """End everything that was begun under the present epoch, and go on under a new one."""
        self._close_run()
        self._book = self.book.reopened()
        self._open_run()

    def _diverged(self, phase: PhaseName, reason: str) -> None:
        self.book.write(Record(Kind.FAILED, phase, {"reason": reason}))
        self._by_policy(phase, f"{phase} did not verify: {reason}")

    def _by_policy(self, phase: PhaseName | None, reason: str) -> None:
        rollback = self.plan.rollback
        policy = rollback.phases.get(stage_of(phase), rollback.on_failure) if phase else "pause"
        if self.state.switched:
            why = f"{reason}. After the switch nothing is undone; `tranship resume` ends the run as it is"
            self.book.write(Record(Kind.HELD, data={"reason": why}))
        elif policy == "rollback" and self.state.status is RunStatus.RUNNING:
            self._roll_back(reason)
        else:
            self.book.write(Record(Kind.PAUSED, data={"reason": reason}))

    def _fail(self, error: Exception) -> None:
        failure = classify(error)
        again = isinstance(error, TransientError | AmbiguousCommitError) and self._outages.bear(self.clock.now())
        if again:
            log.warning("tried again", reason=failure.reason)
            self.work.stumbled(without_secrets(failure.reason))
        else:
            log.error("failed", outcome=failure.outcome, reason=failure.reason, exc_info=failure.is_bug)
        if failure.outcome is Outcome.LEAVE:
            raise failure.error
        self._current.release_workers()
        self._name(failure)
        if isinstance(error, ServiceFailedError):
            self.book.write(Record(Kind.SERVICE_FAILED, data={"service": error.service, "reason": failure.reason}))
        if again:
            # Then the loop takes the same step again, from whatever the attempt left. Whether a COMMIT was carried out,
            # the step will see; that it is not carried out later, a new epoch makes sure.
            if self._servers_answer():
                self._take_epoch()
        elif failure.outcome is Outcome.REFUSE:
            self._refusal = failure.error
            self.book.write(Record(Kind.ROLLBACK, data={"reason": failure.reason}))
        else:
            self._record_failure(failure)

    def _name(self, failure: Failure) -> None:
        """Put the documents at which the run stopped on its record, where a person finds them."""
        rows, run = named_rows(failure.error), self._current
        try:
            if rows:
                self.patience.call(lambda: run.progress.note_divergences(run.scope, rows, []))
        except TransientError as error:
            log.warning("the documents at which the run stopped are not on its record", reason=str(error))

    def _servers_answer(self) -> bool:
        """Wait, within the run's patience, until source and target answer again; if they do not, it is noted."""
        run = self._current

        def answers(identity: Callable[[], str]) -> None:
            self._check_interrupt()
            with suppress(TransientError):  # a person need not wait for the servers
                Inbox(self.book, run).answer_all()
            identity()

        try:
            if not self.state.undoing:
                self.patience.call(lambda: answers(run.source.identity))
            self.patience.call(lambda: answers(run.schema.identity))
        except TransientError as error:
            self._record_failure(classify(error))
            return False
        return True

    def _hold_unknown(self, why: str) -> None:
        self.book.write(Record(Kind.HELD, data={"reason": f"{UNKNOWN_PIVOT}: {why}"}))

    def _record_failure(self, failure: Failure) -> None:
        phase = self.state.current
        data: dict[str, Any] = {"reason": failure.reason}
        if self.state.pivoting:
            if failure.outcome is not Outcome.ASK_AGAIN:  # else it was read: a lift is the next step, and ends this
                self._hold_unknown(failure.reason)
            return
        match failure.outcome:
            case Outcome.POLICY:
                self._by_policy(phase, failure.reason)
            case Outcome.HOLD if self.state.switched:
                self._by_policy(phase, str(failure.error))
            case Outcome.HOLD:
                self.book.write(Record(Kind.HELD, data=data))
            case Outcome.ASK_AGAIN if phase is not None and stage_of(phase) in self.state.approvals:
                self.book.write(Record(Kind.APPROVAL_WITHDRAWN, stage_of(phase), data))
            case _:
                self.book.write(Record(Kind.PAUSED, data=data))
