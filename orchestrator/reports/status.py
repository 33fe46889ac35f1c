"""What a person wants to know of a run: the folded state, and what progress says about the data."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from tranship.connectors.fit import Fit
from tranship.connectors.protocols import MOST_COUNTED, Build, Key, Mismatch, Progress, Scope, Tally, Totals, Unapplied
from tranship.orchestrator.dataplane.work import Part
from tranship.orchestrator.engine.session import Session
from tranship.orchestrator.journal.state import ENDED, State
from tranship.orchestrator.journal.steps import Wait, next_step
from tranship.orchestrator.reports.advice import next_command, to_type, waits
from tranship.orchestrator.reports.fit import StreamFit, lines, stream_fit
from tranship.orchestrator.reports.keynames import key_values
from tranship.plans.strategies import GROUPS
from tranship.plans.streams import Stream

MOST_ROGUE = 1_000
VERSION = 1
"""Of what `as_dict` gives."""


@dataclass(frozen=True)
class StreamStatus:
    """Where one stream stands. `rows` are those loaded by the backfill, `quarantined` is what is kept aside now.

    `compared` is what the newest comparison of all keys found, at `Status.compared_at`: `documents` of the source,
    `rows` and `quarantined` of the target. `fit`: how well the documents fit the plan.
    """

    stream: str
    chunks: int
    loaded: int
    rows: int
    quarantined: int
    compared: Tally | None
    fit: StreamFit = field(default_factory=StreamFit)


@dataclass(frozen=True)
class WorkStatus:
    """What the orchestrator at work has said `age_s` ago: what it does, for how long by then, and how far it is.
    `trouble`: why it is tried again, for `trouble_s` by then."""

    doing: str
    elapsed_s: float
    unit: str
    done: int
    total: int
    rows_per_second: float | None
    left_s: float | None
    parts: dict[str, Part]
    trouble: str
    trouble_s: float
    age_s: float


@dataclass(frozen=True)
class Status:
    """Where a run stands, as of `taken_at`; `docs/json.md` has each field. Within a `version` fields are only added.

    `at_work`: whether an orchestrator holds its lease; `work`: what it has said last of what it does; `builds`: what
    the target tells of index builds. `waits`: who waits for whom; `next_command`: what a person types now.
    `parked_keys`: how many wait because rows of which table hold theirs. `dirty_keys` and `lag_s` are None while
    nothing follows the source: before capture, and from the switch or the end of the run on. `can_cut_over`: whether
    nothing is against a cutover now, and what is (`with_readiness`); None where that is no question, or was not asked.
    `rogue_writes`: what was written to the source behind the switch, the first `MOST_ROGUE` of it.
    Times are UTC, ISO 8601.
    """

    version: int
    taken_at: str
    run: str
    status: str
    reason: str
    at_work: bool
    work: WorkStatus | None
    builds: tuple[Build, ...]
    waits: tuple[str, ...]
    next_command: str | None
    phases: dict[str, str]
    waiting_for_approval: str | None
    can_cut_over: bool | None
    against_cutover: tuple[str, ...]
    switched: bool
    dirty_keys: int | None
    parked_keys: dict[str, int]
    lag_s: float | None
    streams: tuple[StreamStatus, ...]
    compared_at: str | None
    compared_age_s: float | None
    divergences: tuple[dict[str, Any], ...]
    rogue_writes: tuple[dict[str, Any], ...]
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
    scope = Scope(run, state.feed, state.epoch)
    following = follows(state)
    backlog = progress.backlog(scope) if following else None
    quarantine = progress.quarantine_count(scope)
    totals = progress.totals(scope)
    compared = progress.comparison(scope)
    fits = progress.fit(scope)
    streams = []
    for stream in session.streams:
        total = totals.get(stream.name, Totals(0, 0, 0))
        kept = quarantine.get(stream.name, 0)
        found = compared.streams.get(stream.name) if compared else None
        fit = fits.get(stream.name, Fit())
        filled_at = utc(fit.filled_at) if fit.filled_at is not None else None
        fitting = stream_fit(session, scope, stream, fit, filled_at)
        streams.append(StreamStatus(stream.name, total.chunks, total.loaded, total.rows, kept, found, fitting))
    at_work = session.control.is_led(run)
    parked = progress.parked(scope) if following else {}
    return Status(
        version=VERSION,
        taken_at=utc(time.time()),
        run=run,
        status=state.status.value,
        reason=to_type(state.reason, session.file),
        at_work=at_work,
        work=_work(session.control.work(run)) if at_work else None,
        builds=tuple(progress.building(session.streams)) if state.status not in ENDED else (),
        waits=tuple(waits(state, at_work=at_work, parked=parked)),
        next_command=next_command(state, session.file, at_work=at_work),
        phases={phase.value: state.of(phase).value for phase in state.phases},
        waiting_for_approval=_waiting(state),
        can_cut_over=None,
        against_cutover=(),
        switched=state.switched,
        dirty_keys=backlog.dirty if backlog else None,
        parked_keys=parked,
        lag_s=round(backlog.lag_s, 3) if backlog else None,
        streams=tuple(streams),
        compared_at=utc(compared.at) if compared else None,
        compared_age_s=round(compared.age_s, 1) if compared else None,
        divergences=tuple(describe(session.streams, d) for d in progress.divergences(scope)),
        rogue_writes=tuple(_rogue(session.streams, progress.unapplied(scope, MOST_ROGUE))) if state.switched else (),
        facts={phase.value: dict(facts) for phase, facts in state.facts.items()},
    )


def with_readiness(session: Session, status: Status) -> Status:
    """A status that says whether the run can cut over now. It asks the source too, which a look at a run need not."""
    from tranship.orchestrator.reports.readiness import against_cutover  # with the phases: only a person asks

    against = against_cutover(session, status.run, lag_s=status.lag_s, at_work=status.at_work)
    typed = tuple(to_type(why, session.file) for why in against or ())
    return replace(status, can_cut_over=None if against is None else not typed, against_cutover=typed)


def _work(said: tuple[dict[str, Any], float] | None) -> WorkStatus | None:
    if said is None:
        return None
    work, age = said
    parts = {name: Part(**part) for name, part in work["parts"].items()}
    left, rate = work["left_s"], work["rows_per_second"]
    return WorkStatus(
        doing=work["doing"],
        elapsed_s=round(work["elapsed_s"], 1),
        unit=work["unit"],
        done=work["done"],
        total=work["total"],
        rows_per_second=None if rate is None else round(rate, 1),
        left_s=None if left is None else round(left, 1),
        parts=parts,
        trouble=work["trouble"],
        trouble_s=round(work["trouble_s"], 1),
        age_s=round(age, 1),
    )


def follows(state: State) -> bool:
    """Whether the target is to follow the source: only then does it lag behind."""
    return state.following and not state.switched and state.status not in ENDED


def stages(phases: Mapping[str, str]) -> list[tuple[str, str]]:
    """Phases and their statuses as people see them: a group of which all phases stand alike is one."""
    shown: list[tuple[str, str]] = []
    for name, standing in phases.items():
        group = next((group for group, members in GROUPS.items() if name in members), None)
        alike = group is not None and {phases.get(member) for member in GROUPS[group]} == {standing}
        one = (group.value if group is not None and alike else name, standing)
        if one not in shown:
            shown.append(one)
    return shown


def _waiting(state: State) -> str | None:
    step = next_step(state)
    return step.stage.value if isinstance(step, Wait) and state.asked is step.stage else None


def describe(streams: tuple[Stream, ...], mismatch: Mismatch) -> dict[str, Any]:
    """A divergence as a person names it: stream, key columns, what differs.

    The plan may have lost the stream since, as when it is edited after its run has ended: then the key has no columns.
    """
    key = _key(streams, mismatch.stream, mismatch.key)
    return {"stream": mismatch.stream, "key": key, "kind": mismatch.kind, "columns": list(mismatch.columns)}


def _key(streams: tuple[Stream, ...], name: str, key: Key) -> dict[str, Any]:
    stream = next((s for s in streams if s.name == name), None)
    return key_values(stream, key) if stream is not None else {"canonical": key.hex()}


def _rogue(streams: tuple[Stream, ...], found: Sequence[Unapplied]) -> Iterator[dict[str, Any]]:
    """What was written to the source behind the switch: nothing applies it any more, so it stays dirty."""
    for one in found:
        yield {"stream": one.stream, "key": _key(streams, one.stream, one.key), "at": utc(one.since)}


def dirty_keys(count: int) -> str:
    """A count of dirty keys for people: it ends at `MOST_COUNTED`."""
    return f"{count:,}" if count < MOST_COUNTED else f"{MOST_COUNTED:,} or more"


def equation(found: Tally) -> str:
    """*source = target + quarantined*, as a comparison of all keys found it."""
    sign = "=" if found.documents == found.rows + found.quarantined else "≠"
    return f"{found.documents:,} documents {sign} {found.rows:,} rows + {found.quarantined:,} quarantined"


def closing_lines(status: Status) -> list[str]:
    """What the newest comparison of all keys found per stream, and when; and what is in quarantine now."""
    if status.compared_at is None or status.compared_age_s is None:
        return ["no comparison of all keys is on record"]
    when = f"compared at {status.compared_at}, {ago(status.compared_age_s)}; later changes were applied since"
    counts = [
        f"  {stream.stream}: {equation(stream.compared)}; {stream.quarantined:,} in quarantine now"
        for stream in status.streams
        if stream.compared is not None
    ]
    return [when, *counts, *fit_lines(status)]


def fit_lines(status: Status) -> list[str]:
    """How well the documents fit the plan, stream by stream; none of those that fit."""
    return [line for stream in status.streams for line in lines(stream.stream, stream.fit)]


def utc(at: float) -> str:
    """A time in seconds since 1970, for people and programs: UTC, whole seconds."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def ago(seconds: float) -> str:
    """How long ago something was, in words."""
    return f"{duration(seconds)} ago"


def duration(seconds: float) -> str:
    """A span of time in its two greatest units."""
    whole = max(0, round(seconds))
    parts = ((whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s"))
    first = next((n for n, (count, _) in enumerate(parts) if count), len(parts) - 1)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count or unit == parts[first][1])


def brief(seconds: float) -> str:
    """The same; below ten seconds with a tenth."""
    return f"{seconds:.1f} s" if seconds < 10 else duration(seconds)
