"""Puts a plan, its servers and the engine together: what the CLI, the Python API and the demo start from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tranship.connectors.errors import ConnectorError, RefusedError
from tranship.connectors.protocols import Finding
from tranship.connectors.registry import Source, open_progress, open_schema, open_source, open_target
from tranship.connectors.registry import open_control as open_control_store
from tranship.orchestrator import logs
from tranship.orchestrator.dataplane.run import Connect, Guard
from tranship.orchestrator.dataplane.workers import ProcessWorkers, WorkerSetting
from tranship.orchestrator.engine.recognition import lost_switch, lost_switches
from tranship.orchestrator.failpoints import reached
from tranship.orchestrator.journal.control import RequestKind
from tranship.orchestrator.journal.fold import fold_all
from tranship.orchestrator.journal.state import ENDED, State
from tranship.orchestrator.journal.store import StoredControl
from tranship.orchestrator.phases.preflight import of_source, refuse_errors
from tranship.plans import Plan, resolve, source_endpoint, target_endpoint
from tranship.plans.fingerprint import differences, meaning_document, relaxed
from tranship.plans.streams import Endpoint, Stream

if TYPE_CHECKING:
    from tranship.orchestrator.engine.engine import Engine

STOPPING = {RequestKind.WITHDRAW, RequestKind.PAUSE, RequestKind.ROLLBACK}
"""Requests that let no more rows be moved."""


@dataclass(frozen=True)
class Session:
    """One plan with its control store open. `file`: the plan's, as people type it."""

    plan: Plan
    streams: tuple[Stream, ...]
    connect: Connect
    control: StoredControl
    file: str = "PLAN"

    def findings(self, run: str) -> list[Finding]:
        """Preflight, and for a run whether the plan still is the one that it was started with. Reads only."""
        source, schema = self.connect.source(), self.connect.schema()
        try:
            found = self._changes(run) + of_source(self, source)
            found += schema.findings(self.streams, run)
            if not any(finding.severity == "error" for finding in found):  # else the servers might not answer
                found += self._lost_switches(source, schema.identity())
            return found
        finally:
            source.close()
            schema.close()

    def _lost_switches(self, source: Source, target: str) -> list[Finding]:
        state_of = self.state if self.control.installed() else lambda _run: State()
        hint = "find out first which of the two is right: what applications wrote since the switch may be missing"
        lost = lost_switches(source, target, self.plan.target.state_schema, state_of)
        return [Finding("target.restored", "error", lost_switch(owner), hint) for owner in lost]

    def purge(self) -> list[str]:
        """Remove the state schema's tables and then the routing records of its runs from the source.

        Returns the runs that have not ended: then nothing was removed. Raises `RefusedError` while routers live, which
        would lose the records that they go by, and with the tables gone where the records could not be removed.
        """
        self._refuse_routers()
        switched = [state.id for state in map(self.state, self.runs()) if state.switched]
        unfinished = self.control.purge(self.unfinished)
        if unfinished or not switched:
            return unfinished
        try:
            with closing(self.connect.source()) as source:
                for run in switched:
                    source.records.forget(run)
        except ConnectorError as error:
            raise RefusedError(
                f"the state schema is purged, but the source keeps its routing records: {error}. No new run will "
                "begin from it to this target before they are removed from its collection tranship_switches"
            ) from None
        return []

    def _refuse_routers(self) -> None:
        if not self.control.installed():
            return
        with closing(self.connect.progress()) as progress:
            living = progress.records.routers(self.plan.name)
        if living:
            raise RefusedError(
                f"{len(living)} routers of plan {self.plan.name} live and write by these records: behind a purge a new "
                "process would not know where to write. Nothing was purged. Give the applications "
                '`initial="target"`, or take their routers out, then try again'
            )

    def _changes(self, run: str) -> list[Finding]:
        if not run:
            return []
        state = self.state(run)
        changes = self.changes(state)
        if not changes or relaxed(dict(state.meaning), meaning_document(self.plan)):
            return []
        message = f"run {run} was started with another meaning: {'; '.join(changes)}"
        return [Finding("plan.changed", "error", message, "put the plan back, to go on or to roll the run back")]

    def changes(self, state: State) -> list[str]:
        """In what the plan means something else than the one that a run goes by; none of a run that has not begun."""
        old = dict(state.meaning)
        return differences(old, meaning_document(self.plan)) if old else []

    def latest(self) -> str | None:
        """The newest run of the plan, or None; reads only."""
        return self.control.latest_run(self.plan.name) if self.control.installed() else None

    def active(self) -> str | None:
        """The plan's run that has not ended, or None; reads only."""
        latest = self.latest()
        return latest if latest is not None and self.state(latest).status not in ENDED else None

    def look(self) -> list[Finding]:
        """`findings` for whoever has no run in hand: beside the active one, if the target says which that is. Raises
        nothing for servers that do not answer: that is a finding."""
        try:
            active = self.active()
        except ConnectorError:
            active = None
        return self.findings(active or "")

    def runs(self) -> list[str]:
        """All runs of all plans in the state schema; reads only."""
        return self.control.all_runs() if self.control.installed() else []

    def unfinished(self) -> list[str]:
        """Runs of any plan in the state schema that have not ended; reads only."""
        return [run for run in self.runs() if self.state(run).status not in ENDED]

    def state(self, run: str) -> State:
        """The folded state of a run."""
        return fold_all(entry.record for entry in self.control.journal(run))

    def begin(self) -> str:
        """The active run, or a new one after a preflight that found no error. Raises `PreflightError`.

        The preflight comes before the state schema is made: a refused plan leaves nothing behind.
        """
        latest, active = self.latest(), self.active()
        if active is not None:
            return active
        found = self.findings("")
        # Somebody else may have begun the run meanwhile, and what preflight has found is their work.
        active = self.active()
        if active is not None:
            return active
        refuse_errors(found)
        self.control.install()
        return self.control.create_run(self.plan.name, after=latest)

    def guard(self, state: State, *, moving: bool = True) -> None:
        """Refuse a command while the target does not allow what it writes, before anything is recorded.

        A preflight looked before the run began; an address may lead to a pooler or a standby by now, and others may
        have hung their objects on the run's tables. What undoes or stops (`moving` false), and what comes after the
        switch, needs only that it may write (`rules.md` K9). Raises `PreflightError`. Reads only.
        """
        with closing(self.connect.schema()) as schema:
            found = schema.may_write()
            if moving and not state.undoing and not state.switched:
                found += schema.may_move(self.streams, state.run)
        refuse_errors(found)

    def request(self, run: str, kind: RequestKind, asking: int | None = None, stream: str | None = None) -> int:
        """Leave a request for the orchestrator at work, after a `guard`; returns its number."""
        self.guard(self.state(run), moving=kind not in STOPPING)
        return self.control.request(run, kind, asking, stream)

    def engine(self, rehearsed: str = "") -> Engine:
        """An engine for the plan's runs. `rehearsed`: the digest of the dry run's report by which one begins."""
        from tranship.orchestrator.engine.engine import Engine  # with all phases: only who carries a run on needs it

        return Engine(self.plan, self.streams, self.connect, self.control, self.plan.limits.lease, rehearsed=rehearsed)


@contextmanager
def open_control(endpoint: Endpoint) -> Iterator[StoredControl]:
    """Open the control store in a target's state schema; nothing is created by that."""
    control = StoredControl(open_control_store(endpoint, reached))
    try:
        yield control
    finally:
        control.close()


@contextmanager
def open_session(plan: Plan, log_format: str | None = None, file: str = "PLAN") -> Iterator[Session]:
    """Open a plan with its control store; nothing is created by that."""
    streams = resolve(plan)
    log_format = log_format or logs.default_format()
    with open_control(target_endpoint(plan)) as control:
        yield Session(plan, streams, connections(plan, streams, log_format), control, file)


def connections(plan: Plan, streams: tuple[Stream, ...], log_format: str) -> Connect:
    """How to reach the plan's servers."""
    source, target = source_endpoint(plan), target_endpoint(plan)
    return Connect(
        source=lambda: open_source(source, streams),
        target=lambda scope: open_target(target, streams, scope, reached),
        progress=lambda: open_progress(target, streams, reached),
        schema=lambda: open_schema(target, streams),
        workers=lambda scope: ProcessWorkers(
            WorkerSetting(source, target, streams, scope, log_format), plan.limits.workers
        ),
        guard=lambda id, deadline: _guarded(source, id, plan.name, deadline, log_format),  # noqa: A006
    )


def _guarded(source: Endpoint, id: str, run: str, deadline: float, log_format: str) -> Guard:  # noqa: A002
    from tranship.orchestrator.services.guard import GuardProcess, Watched  # only who raises a fence needs it

    return GuardProcess(Watched(source, id, run, deadline, log_format))
