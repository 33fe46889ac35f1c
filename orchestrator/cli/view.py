"""How a run looks while it works: a live view on a terminal, log lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import structlog
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from tranship.connectors.protocols import Build, Compared
from tranship.orchestrator import logs
from tranship.orchestrator.cli.live import drawn
from tranship.orchestrator.cli.watch import Figures, Watch
from tranship.orchestrator.dataplane.work import SPANS, Report, Work
from tranship.orchestrator.engine.session import Session
from tranship.orchestrator.journal.state import PhaseStatus, RunStatus, State
from tranship.orchestrator.reports.advice import to_type
from tranship.orchestrator.reports.status import ago, dirty_keys, duration, equation, stages

if TYPE_CHECKING:
    from tranship.orchestrator.engine.engine import Engine

log = structlog.get_logger(__name__)

LIVE_EVERY_S = 0.5
PLAIN_EVERY_S = 5.0
STALE_S = 5.0
"""Figures older than that are not those of now: what changes all the time is unknown then."""
OTHER_LINES = 18
"""Lines of the view that are not a stream's, at the most."""

MARKS = {
    PhaseStatus.PENDING: ("·", "dim"),
    PhaseStatus.DOING: ("▶", "cyan"),
    PhaseStatus.DONE: ("▶", "cyan"),
    PhaseStatus.VERIFIED: ("✓", "green"),
    PhaseStatus.UNDOING: ("◀", "yellow"),
    PhaseStatus.UNDONE: ("↺", "yellow"),
}


@contextmanager
def shown(session: Session, engine: Engine) -> Iterator[None]:
    """Show what the engine does for the length of the block: a live view when standard error is a terminal, else a line
    every few seconds. At its end the view draws the last state once more, and stays."""
    if not sys.stderr.isatty():
        watch = Watch(session, engine, PLAIN_EVERY_S, lambda watch: _log(watch, engine.state, engine.work.report()))
        with _watching(watch):
            yield
        return
    watch = Watch(session, engine, LIVE_EVERY_S)
    with (
        drawn(Screen(session.file, engine, watch)),
        _watching(watch),  # closed first: the last frame shows the last figures
    ):
        yield


@contextmanager
def told(work: Work) -> Iterator[None]:
    """Say how far the work of a command is, for the length of the block: on a terminal, and gone at its end."""
    if not sys.stderr.isatty():
        yield
        return
    with drawn(_Working(work), transient=True):
        yield


class _Working:
    """A line, drawn anew at each refresh."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        report = self._work.report()
        if report is not None:
            yield _line(working(report))


@contextmanager
def _watching(watch: Watch) -> Iterator[None]:
    watch.start()
    try:
        yield
    finally:
        watch.close()


def _log(watch: Watch, state: State, report: Report | None) -> None:
    if watch.trouble:
        since = round(watch.clock.now() - watch.failing)
        log.warning("no figures", status=state.status, phase=state.current, reason=watch.trouble, for_s=since)
    elif watch.figures is not None:
        log.info("progress", status=state.status, phase=state.current, **_rounded(watch.figures), **_said(report))


def _rounded(figures: Figures) -> dict[str, object]:
    backlog = figures.backlog
    return {
        "rows": figures.rows,
        "chunks": f"{figures.loaded}/{figures.chunks}",
        "dirty_keys": backlog.dirty if backlog else None,
        "lag_s": round(backlog.lag_s, 2) if backlog else None,
        "quarantined": sum(figures.quarantined.values()),
        "history_s": figures.history_s,
    }


def _said(report: Report | None) -> dict[str, object]:
    if report is None:
        return {}
    rate, left = report.rows_per_second, report.left_s
    return {
        "doing": report.doing,
        "elapsed_s": round(report.elapsed_s, 1),
        "done": f"{report.done}/{report.total} {report.unit}" if report.total else None,
        "rows_per_second": None if rate is None else round(rate),
        "left_s": None if left is None else round(left),
    }


class Screen:
    """The live view, drawn anew at each refresh from what engine and watch know then. `file`: the plan, as typed."""

    def __init__(self, file: str, engine: Engine, watch: Watch) -> None:
        self._file = file
        self._engine = engine
        self._watch = watch

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        state, watch = self._engine.state, self._watch
        yield from self._head(state, options.max_width)
        if watch.figures is not None:
            yield from self._figures(state, watch.figures)
            compared = None if state.undoing or state.status is RunStatus.ROLLED_BACK else watch.figures.compared
            report = self._engine.work.report() if state.status in _WORKING else None
            yield from _streams(watch.figures, compared, report, options.max_width, console.height - OTHER_LINES)
        yield from self._foot(state)

    def _head(self, state: State, width: int) -> Iterator[Text]:
        yield _line(Text.assemble((state.run or self._file, "bold"), f"  {state.status}"))
        yield from phases(state, width)
        report = self._engine.work.report()
        if report is not None and state.status in _WORKING:
            yield _line(working(report))

    def _figures(self, state: State, figures: Figures) -> Iterator[Text]:
        age = self._watch.clock.now() - self._watch.taken
        stale = age > STALE_S
        if state.status in _WORKING:
            for build in figures.builds:
                yield _line(building(build))
        if figures.backlog is not None and state.status in _WORKING:
            backlog = figures.backlog
            lag = "unknown" if stale else f"{backlog.lag_s:.1f} s"
            dirty = "unknown" if stale else dirty_keys(backlog.dirty) + _fewer(figures, backlog.dirty)
            left = "unknown" if figures.history_s is None else duration(figures.history_s)
            yield _line(f"lag {lag}   dirty keys {dirty}   the source's history lasts {left}")
        if stale and not self._watch.trouble:
            yield _line(Text(f"these figures are {duration(age)} old", style="yellow"))

    def _foot(self, state: State) -> Iterator[Text]:
        watch = self._watch
        if watch.trouble and state.status in _WORKING:
            since = duration(watch.clock.now() - watch.failing)
            yield Text(f"the target does not answer for {since}: {logs.without_secrets(watch.trouble)}", style="red")
        if state.status not in _WORKING:
            return  # how it has ended is said below
        report = self._engine.work.report()
        if report is not None and report.trouble:
            yield Text(f"tried again for {duration(report.trouble_s)}: {report.trouble}", style="yellow")
        if state.reason:
            yield Text(logs.without_secrets(to_type(state.reason, self._file)), style="yellow")
        if self._engine.patience.hurried.is_set():
            yield Text("pausing: what is under way comes to its end; Ctrl-C again ends at once", style="bold yellow")
        elif state.asked is not None:
            yield Text(f"{state.asked} waits for an approval: tranship approve {self._file}", style="bold yellow")
        else:
            yield _line(Text("Ctrl-C pauses the run; nothing is lost", style="dim"))


_WORKING = (RunStatus.RUNNING, RunStatus.ROLLING_BACK)


def phases(state: State, width: int) -> Iterator[Text]:
    """The phases with their marks, as many on a line as fit."""
    line = Text()
    for name, standing in stages({phase.value: state.of(phase).value for phase in state.phases}):
        mark, style = MARKS[PhaseStatus(standing)]
        word = Text(f"{mark} {name}", style=style)
        if line and len(line) + 2 + len(word) > width:
            yield _line(line)
            line = Text()
        line = Text.assemble(line, "  " if line else "", word)
    if line:
        yield _line(line)


def working(report: Report) -> str:
    """How far the work is, on a line."""
    parts = [f"{report.doing} for {duration(report.elapsed_s)}"]
    if report.total:
        parts.append(f"{report.done:,} of {report.total:,} {report.unit} ({100 * report.done // report.total} %)")
    if report.rows_per_second is not None:
        parts.append(f"{report.rows_per_second:,.0f} rows/s")
    if report.left_s is not None and report.done < report.total:
        parts.append(f"about {duration(report.left_s)} left")
    return "   ".join(parts)


def building(build: Build) -> str:
    """How far an index build is, on a line."""
    share = f", {build.done:,} of {build.total:,} ({100 * build.done // build.total} %)" if build.total else ""
    return f"index on {build.table}: {build.step}{share}"


def _streams(
    figures: Figures, compared: Compared | None, report: Report | None, width: int, most: int
) -> Iterator[Text]:
    """A line per stream: how far the comparison is that is under way, else what the newest one counted, else what is
    loaded. Names are narrowed, never wrapped."""
    parts = report.parts if report is not None and report.unit == SPANS else {}
    names = list(figures.totals)[: max(1, most)]
    if compared is not None:
        yield _line(f"compared {ago(compared.age_s)}; changes since then were applied, not compared")
    room = max(10, min(max(map(len, names), default=0), width - 58))
    for name in names:
        short = name if len(name) <= room else f"{name[: room - 1]}…"
        found = compared.streams.get(name) if compared else None
        total, aside = figures.totals[name], figures.quarantined.get(name, 0)
        part = parts.get(name)
        loaded = f"{total.loaded:,}/{total.chunks:,} chunks  {total.rows:,} rows  {aside:,} quarantined"
        comparing = f"{part.done:,}/{part.total:,} spans compared  {part.rows:,} documents" if part else ""
        yield _line(f"{short:<{room}}  {comparing or (equation(found) if found else loaded)}")
    if len(figures.totals) > len(names):
        more = len(figures.totals) - len(names)
        yield _line(Text(f"and {more} streams more: tranship status has all", style="dim"))


def _fewer(figures: Figures, dirty: int) -> str:
    pace = figures.fewer_per_second
    return f" (-{pace:,.0f}/s, about {duration(dirty / pace)} left)" if pace and dirty else ""


def _line(text: Text | str) -> Text:
    line = Text(text) if isinstance(text, str) else text
    line.no_wrap, line.overflow = True, "ellipsis"
    return line
