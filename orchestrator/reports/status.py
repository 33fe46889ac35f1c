"""What a person wants to know of a run: the folded state, and what progress says about the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tranship.connectors.protocols import MOST_COUNTED, Mismatch, Progress, Scope, Totals
from tranship.orchestrator.engine.session import Session
from tranship.orchestrator.journal.state import PhaseStatus, RunStatus, State
from tranship.orchestrator.reports.keynames import key_values
from tranship.plans.strategies import PhaseName
from tranship.plans.streams import Stream

EXIT_CODES = {
    RunStatus.FINISHED: 0,
    RunStatus.ROLLED_BACK: 4,
    RunStatus.HELD: 5,
    RunStatus.PAUSED: 7,
}


@dataclass(frozen=True)
class StreamStatus:
    """Where one stream stands. `rows` are those loaded by the backfill, `quarantined` is what is kept aside now.

    `compared` is what the last reconcile found: `documents` of the source, `rows` and `quarantined` of the target.
    """

    stream: str
    chunks: int
    loaded: int
    rows: int
    quarantined: int
    compared: dict[str, int] | None


@dataclass(frozen=True)
class Status:
    """Where a run stands. `at_work`: whether an orchestrator holds its lease. `parked_keys`: how many wait because rows
    of which table hold theirs."""

    run: str
    status: str
    reason: str
    at_work: bool
    phases: dict[str, str]
    waiting_for_approval: str | None
    switched: bool
    dirty_keys: int | None
    parked_keys: dict[str, int]
    lag_s: float | None
    streams: tuple[StreamStatus, ...]
    divergences: tuple[dict[str, Any], ...]
    facts: dict[str, dict[str, Any]]

    def as_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self)


def status_of(session: Session, run: str) -> Status:
    """Look at a run from outside. Reads only; may be called while another process works on it."""
    progress = session.connect.progress()
    try:
        return _status(session, run, progress)
    finally:
        progress.close()


def _status(session: Session, run: str, progress: Progress) -> Status:
    state = session.state(run)
    scope = Scope(run, state.round, state.epoch)
    following = state.of(PhaseName.CAPTURE) in (PhaseStatus.DONE, PhaseStatus.VERIFIED)
    backlog = progress.backlog(scope) if following else None
    quarantine = progress.quarantine_count(scope)
    totals = progress.totals(scope)
    compared = state.facts.get(PhaseName.RECONCILE, {}).get("streams", {})
    streams = []
    for stream in session.streams:
        total = totals.get(stream.name, Totals(0, 0, 0))
        kept = quarantine.get(stream.name, 0)
        found = compared.get(stream.name)
        streams.append(StreamStatus(stream.name, total.chunks, total.loaded, total.rows, kept, found))
    return Status(
        run=run,
        status=state.status.value,
        reason=state.reason,
        at_work=session.control.is_led(run),
        phases={phase.value: state.of(phase).value for phase in state.phases},
        waiting_for_approval=_waiting(state),
        switched=state.switched,
        dirty_keys=backlog.dirty if backlog else None,
        parked_keys=progress.parked(scope) if following else {},
        lag_s=round(backlog.lag_s, 3) if backlog else None,
        streams=tuple(streams),
        divergences=tuple(describe(session.streams, d) for d in progress.divergences(scope)),
        facts={phase.value: dict(facts) for phase, facts in state.facts.items()},
    )


def _waiting(state: State) -> str | None:
    phase = state.current
    asks = state.status is RunStatus.RUNNING and phase in state.approvals and phase not in state.approved
    return phase.value if asks and phase is not None and state.asked is phase else None


def describe(streams: tuple[Stream, ...], mismatch: Mismatch) -> dict[str, Any]:
    """A divergence as a person names it: stream, key columns, what differs.

    The plan may have lost the stream since, as when it is edited after its run has ended: then the key has no columns.
    """
    stream = next((s for s in streams if s.name == mismatch.stream), None)
    key = key_values(stream, mismatch.key) if stream is not None else {"canonical": mismatch.key.hex()}
    return {"stream": mismatch.stream, "key": key, "kind": mismatch.kind, "columns": list(mismatch.columns)}


def dirty_keys(count: int) -> str:
    """A count of dirty keys for people: it ends at `MOST_COUNTED`."""
    return f"{count:,}" if count < MOST_COUNTED else f"{MOST_COUNTED:,} or more"


def equation(compared: Mapping[str, int]) -> str:
    """*source = target + quarantined*, as the last full comparison found it."""
    documents, rows, quarantined = compared["documents"], compared["rows"], compared["quarantined"]
    sign = "=" if documents == rows + quarantined else "≠"
    return f"{documents:,} documents {sign} {rows:,} rows + {quarantined:,} quarantined"


def closing_lines(status: Status) -> list[str]:
    """Per stream: what the last full comparison found, and what is in quarantine now."""
    return [
        f"{stream.stream}: {equation(stream.compared)}; {stream.quarantined:,} in quarantine now"
        for stream in status.streams
        if stream.compared is not None
    ]
