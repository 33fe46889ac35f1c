"""How a run looks while it works: a live view on a terminal, plain log lines elsewhere; and the status page."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tranship.connectors.errors import ConnectorError
from tranship.orchestrator.clock import Clock, MonotonicClock
from tranship.orchestrator.dataplane.run import Run
from tranship.orchestrator.engine.session import Observe, Session
from tranship.orchestrator.journal.state import PhaseStatus, RunStatus, State
from tranship.orchestrator.reports.status import Status, dirty_keys, equation
from tranship.plans.strategies import PhaseName

log = structlog.get_logger(__name__)

LIVE_EVERY_S = 0.5
PLAIN_EVERY_S = 5.0
HISTORY_EVERY_S = 60.0
SHORT_HISTORY_S = 3600.0
MOST_STREAMS = 10
"""So many streams have a line of their own in the live view; `tranship status` has all."""

MARKS = {
    PhaseStatus.PENDING: ("·", "dim"),
    PhaseStatus.DOING: ("▶", "cyan"),
    PhaseStatus.DONE: ("▶", "cyan"),
    PhaseStatus.SEALED: ("▶", "cyan"),
    PhaseStatus.VERIFIED: ("✓", "green"),
    PhaseStatus.UNDOING: ("◀", "yellow"),
    PhaseStatus.UNDONE: ("↺", "yellow"),
}


@dataclass(frozen=True)
class Figures:
    """What moves while a run works."""

    rows: int
    chunks: int
    loaded: int
    rows_per_second: float
    eta_s: float | None
    dirty: int
    lag_s: float
    quarantined: int
    history_s: float | None
    """How far capture may fall back before the source's history is lost; None where nobody knows."""


class History:
    """Asks now and then how far the source's history reaches back behind the position, and warns when it is short."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._next = 0.0
        self._left: float | None = None

    def left_s(self, run: Run) -> float | None:
        """Seconds, as of a minute ago at most. A source that does not answer is the run's concern, not the view's."""
        if self._clock.now() >= self._next:
            self._next = self._clock.now() + HISTORY_EVERY_S
            try:
                self._left = run.source.history_s(run.position())
            except ConnectorError:
                self._left = None
            if self._left is not None and self._left < SHORT_HISTORY_S:
                log.warning("the source's history is short: capture must not fall back further", left_s=self._left)
        return self._left


class Meter:
    """Measures a run at most every `every_s` seconds; the rate is taken over the rows loaded since the first look."""

    def __init__(self, every_s: float, clock: Clock) -> None:
        self._every_s = every_s
        self._clock = clock
        self._next = 0.0
        self._first: tuple[float, int] | None = None
        self._history = History(clock)

    def look(self, run: Run, state: State) -> Figures | None:
        """The figures, or None when the last look is too recent."""
        now = self._clock.now()
        if now < self._next:
            return None
        self._next = now + self._every_s
        totals = run.progress.totals(run.scope).values()
        chunks, loaded = sum(total.chunks for total in totals), sum(total.loaded for total in totals)
        rows = sum(total.rows for total in totals)
        self._first = self._first or (now, rows)
        seconds, added = now - self._first[0], rows - self._first[1]
        rate = added / seconds if seconds > 0 else 0.0
        eta = (chunks - loaded) * (rows / loaded) / rate if loaded and rate > 0 else None
        following = state.of(PhaseName.CAPTURE) in (PhaseStatus.DONE, PhaseStatus.VERIFIED)
        backlog = run.progress.backlog(run.scope) if following else None
        return Figures(
            rows,
            chunks,
            loaded,
            rate,
            eta,
            backlog.dirty if backlog else 0,
            backlog.lag_s if backlog else 0.0,
            sum(run.progress.quarantine_count(run.scope).values()),
            self._history.left_s(run) if following and not state.switched else None,
        )


@contextmanager
def observer(session: Session) -> Iterator[Observe]:
    """What the engine shows itself to: a live view when standard error is a terminal, else a line every few seconds."""
    clock = MonotonicClock()
    if not sys.stderr.isatty():
        meter = Meter(PLAIN_EVERY_S, clock)

        def plain(run: Run, state: State) -> None:
            figures = meter.look(run, state)
            if figures is not None:
                log.info("progress", status=state.status, phase=state.current, **_rounded(figures))

        yield plain
        return
    meter = Meter(LIVE_EVERY_S, clock)
    with Live(console=Console(stderr=True), refresh_per_second=4, redirect_stderr=True) as live:

        def show(run: Run, state: State) -> None:
            figures = meter.look(run, state)
            if figures is not None:
                live.update(_page(session, state, figures))

        yield show


def _rounded(figures: Figures) -> dict[str, object]:
    return {
        "rows": figures.rows,
        "chunks": f"{figures.loaded}/{figures.chunks}",
        "rows_per_second": round(figures.rows_per_second),
        "dirty_keys": figures.dirty,
        "lag_s": round(figures.lag_s, 2),
        "quarantined": figures.quarantined,
        "history_s": figures.history_s,
    }


def _page(session: Session, state: State, figures: Figures) -> Group:
    phases = Text()
    for phase in state.phases:
        mark, style = MARKS[state.of(phase)]
        phases.append(f" {mark} {phase} ", style=style)
    table = Table.grid(padding=(0, 2))
    eta = f"{figures.eta_s:.0f} s" if figures.eta_s else "-"
    table.add_row("rows", f"{figures.rows:,}", "rows/s", f"{figures.rows_per_second:,.0f}", "ETA", eta)
    chunks = f"{figures.loaded}/{figures.chunks}"
    table.add_row("chunks", chunks, "dirty keys", dirty_keys(figures.dirty), "lag", f"{figures.lag_s:.1f} s")
    history = "unknown" if figures.history_s is None else f"{figures.history_s / 3600:.1f} h"
    table.add_row("quarantined", f"{figures.quarantined:,}", "history left", history)
    parts: list[Text | Table] = [Text(f"{session.plan.name}  {state.status}", style="bold"), phases, table]
    compared = state.facts.get(PhaseName.RECONCILE, {}).get("streams", {})
    parts += [Text(f"{name}: {equation(found)}") for name, found in list(compared.items())[:MOST_STREAMS]]
    if len(compared) > MOST_STREAMS:
        parts.append(Text(f"and {len(compared) - MOST_STREAMS} streams more: tranship status <plan>", style="dim"))
    if state.asked is not None:
        parts.append(Text(f"{state.asked} waits for approval: tranship approve <plan>", style="bold yellow"))
    if state.reason:
        parts.append(Text(state.reason, style="yellow"))
    return Group(*parts)


def print_status(console: Console, status: Status) -> None:
    """The status page of `tranship status`. Reasons, names and keys are people's: none is read as markup."""
    reason = f": {status.reason}" if status.reason else ""
    console.print(Text.assemble((status.run, "bold"), f"  {status.status}{reason}"))
    if status.status in (RunStatus.RUNNING, RunStatus.ROLLING_BACK) and not status.at_work:
        console.print(Text("no orchestrator is at work on it: `tranship run` goes on", style="bold red"))
    phases = Text()
    for name, phase_status in status.phases.items():
        mark, style = MARKS[PhaseStatus(phase_status)]
        phases.append(f" {mark} {name} ", style=style)
    console.print(phases)
    table = Table("stream", "chunks", "rows loaded", "quarantined", "last compared", box=None)
    for stream in status.streams:
        chunks = f"{stream.loaded}/{stream.chunks}"
        compared = equation(stream.compared) if stream.compared else "-"
        table.add_row(Text(stream.stream), chunks, f"{stream.rows:,}", f"{stream.quarantined:,}", compared)
    console.print(table)
    if status.lag_s is not None:
        console.print(f"{dirty_keys(status.dirty_keys or 0)} dirty keys, lag {status.lag_s:.1f} s")
    for holder, count in status.parked_keys.items():
        console.print(f"{count} keys cannot be applied: rows of {holder} hold theirs by a foreign key")
    if status.waiting_for_approval:
        waits = f"{status.waiting_for_approval} waits for approval: tranship approve <plan>"
        console.print(Text(waits, style="yellow"))
    for divergence in status.divergences:
        columns = ", ".join(divergence["columns"])
        console.print(Text(f"divergence: {divergence['stream']} {divergence['key']} {divergence['kind']} {columns}"))
