"""The status page of `tranship status`: where a run stands, as somebody who was not there reads it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tranship.connectors.printable import printable
from tranship.orchestrator.cli.commands import MOST_PRINTED, first_of
from tranship.orchestrator.cli.view import MARKS, building, working
from tranship.orchestrator.dataplane.work import Report
from tranship.orchestrator.journal.state import PhaseStatus
from tranship.orchestrator.reports.status import Status, ago, dirty_keys, duration, equation, fit_lines, stages


def divergence_line(divergence: Mapping[str, Any]) -> str:
    """A divergence on a line: stream, key as it is typed, kind, and the columns that differ."""
    columns = ", ".join(divergence["columns"])
    return f"{_named(divergence)}: {divergence['kind']}{f' in {columns}' if columns else ''}"


def _rogue_line(write: Mapping[str, Any]) -> str:
    return f"written on the source after the switch: {_named(write)}, first at {write['at']}"


def _named(found: Mapping[str, Any]) -> str:
    key = found["key"]
    (named,) = key.values() if len(key) == 1 and "canonical" not in key else (key,)
    text = named if isinstance(named, str) else json.dumps(named, ensure_ascii=False)
    return f"{found['stream']} {printable(text)}"


def print_status(console: Console, status: Status, limit: int = MOST_PRINTED) -> None:
    """The status page of `tranship status`. Reasons, names and keys are people's: none is read as markup."""
    reason = f": {status.reason}" if status.reason else ""
    console.print(Text.assemble((status.run, "bold"), f"  {status.status}{reason}"))
    phases = Text()
    for name, phase_status in stages(status.phases):
        mark, style = MARKS[PhaseStatus(phase_status)]
        phases.append(f" {mark} {name} ", style=style)
    console.print(phases)
    if status.work is not None:
        work = status.work
        report = Report(
            work.doing,
            work.elapsed_s + work.age_s,
            work.unit,
            work.parts,
            work.rows_per_second,
            work.left_s,
        )
        console.print(Text(f"{working(report)}   (said {ago(work.age_s)})"))
        if work.trouble:
            since = duration(work.trouble_s + work.age_s)
            console.print(Text(f"tried again for {since}: {work.trouble}", style="yellow"))
    for build in status.builds:
        console.print(Text(building(build)))
    when = f"compared at {status.compared_at}" if status.compared_at else "compared"
    table = Table("stream", "chunks", "rows loaded", "quarantined", when, box=None)
    for stream in status.streams:
        chunks = f"{stream.loaded}/{stream.chunks}"
        compared = equation(stream.compared) if stream.compared else "-"
        table.add_row(Text(stream.stream), chunks, f"{stream.rows:,}", f"{stream.quarantined:,}", compared)
    console.print(table)
    for line in fit_lines(status):
        console.print(Text(line))
    if status.lag_s is not None:
        console.print(f"{dirty_keys(status.dirty_keys or 0)} dirty keys, lag {status.lag_s:.1f} s")
    if status.waiting_for_approval and status.can_cut_over is not None:
        console.print(f"can cut over now: {'yes' if status.can_cut_over else 'no'}")
        for why in status.against_cutover:
            console.print(Text(f"  {why}", style="yellow"))
    for sentence in status.waits:
        console.print(Text(sentence, style="yellow"))
    if status.next_command:
        console.print(Text.assemble("next: ", (status.next_command, "bold")), soft_wrap=True)
    _print_keys(console, status, limit)


def _print_keys(console: Console, status: Status, limit: int) -> None:
    for line in first_of(map(divergence_line, status.divergences), limit, len(status.divergences)):
        console.print(Text(f"divergence: {line}"))
    for line in first_of(map(_rogue_line, status.rogue_writes), limit, len(status.rogue_writes)):
        console.print(Text(line))


def print_names(found: Iterable[tuple[str, int, Mapping[str, int]]], *, as_json: bool) -> None:
    """The page of `tranship status --names`: what the plan does not name, where there is anything."""
    streams = list(found)
    if as_json:
        data = [{"stream": name, "rows": rows, "names": dict(paths)} for name, rows, paths in streams]
        typer.echo(json.dumps(data, indent=2))
        return
    for name, rows, paths in streams:
        typer.echo(f"{name}: {len(paths)} fields that the plan does not name, in {rows:,} rows with residue")
        for path, count in paths.items():
            typer.echo(f"  {path}: {count:,}")
