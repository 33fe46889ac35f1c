"""A dry run's report as one HTML page, which needs nothing beside itself and no script, and is readable on paper."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape

from tranship.orchestrator.rehearsal import charts
from tranship.orchestrator.rehearsal.report import Report
from tranship.orchestrator.reports.sizes import size
from tranship.orchestrator.reports.status import brief, duration

_STYLE = """
:root { --ink: #1b1f24; --faint: #57606a; --line: #d0d7de; --good: #1a7f37; --bad: #b42318; --warn: #9a6700; }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
.verdict { border-left: .4rem solid; padding: .5rem 1rem; margin: 1rem 0; font-size: 1.1rem; }
.yes { border-color: var(--good); } .no { border-color: var(--bad); }
.error { color: var(--bad); } .warning { color: var(--warn); } .info, .faint { color: var(--faint); }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; vertical-align: top; padding: .3rem .6rem;
border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }
td.number, th.number { text-align: right; white-space: nowrap; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; }
dt { color: var(--faint); } dd { margin: 0; overflow-wrap: anywhere; }
svg { width: 100%; height: auto; } svg text { font: 12px system-ui, sans-serif; fill: var(--ink); }
pre { background: #f6f8fa; padding: 1rem; overflow-x: auto; font-size: 12px; white-space: pre-wrap; }
@media print { body { margin: 0; max-width: none; font-size: 11px; } h2 { break-after: avoid; }
tr, svg, .verdict { break-inside: avoid; } pre { font-size: 9px; } }
"""


def page(report: Report) -> str:
    """The whole page. What comes from the source's data or from people is escaped."""
    parts = "\n".join(_parts(report))
    # Whatever a server or a plan may have brought in: the page loads nothing and runs nothing.
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Dry run of {escape(report.plan)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{parts}\n"
        "</body>\n</html>\n"
    )


def _parts(report: Report) -> Iterator[str]:
    yield f"<h1>Dry run of {escape(report.plan)}</h1>"
    verdict, kind = ("The run may start.", "yes") if report.may_start else ("The run may not start.", "no")
    yield f'<p class="verdict {kind}">{verdict}</p>'
    yield from _list("", report.against, "error")
    yield from _facts(report)
    yield from _times(report)
    yield from _streams(report)
    yield from _findings(report)
    yield from _list("To be known of a sample", report.bounds)
    yield from _list("Not rehearsed", report.not_rehearsed)
    yield from _list("Left on the target: tranship purge PLAN --shadows", report.left, "error")
    yield f"<h2>What a run would make</h2>\n<pre>{escape(report.ddl)}</pre>"


def _facts(report: Report) -> Iterator[str]:
    facts = {
        "taken at": report.taken_at,
        "from": report.source,
        "to": report.target,
        "looked at": report.coverage,
        "meaning of the plan": report.meaning,
    }
    if report.projection is not None:
        about = report.projection
        facts["a run would take about"] = f"{brief(about.seconds)} (between {brief(about.low)} and {brief(about.high)})"
    if report.cutover:
        wait = report.cutover["drained_s"] + report.cutover["compared_s"]
        facts["writers would stand still for"] = f"{brief(wait)} and the quiet time"
    if report.target_bytes is not None:
        facts["tables and indexes would take"] = size(report.target_bytes)
    if report.history_s is not None:
        facts["the source's history reaches back"] = duration(report.history_s)
    yield (
        "<dl>" + "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items()) + "</dl>"
    )


def _times(report: Report) -> Iterator[str]:
    timed = [phase for phase in report.phases if phase.seconds is not None]
    if not timed:
        return
    about = report.projection.phases if report.projection is not None else {}
    yield "<h2>Phases</h2>"
    bars = [(phase.phase, about.get(phase.phase, phase.seconds or 0.0), brief) for phase in timed]
    yield charts.bars("seconds of a run, as projected", [(name, value, form(value)) for name, value, form in bars])
    rows = [
        (
            phase.phase,
            brief(phase.seconds or 0.0),
            brief(about[phase.phase]) if phase.phase in about else "-",
            "-" if phase.undo_seconds is None else brief(phase.undo_seconds),
            "yes" if phase.halfway else "-",
        )
        for phase in timed
    ]
    yield _table(
        ("phase", "rehearsed", "of a run, about", "taken back in", "taken back from its middle"), rows, numbers=3
    )


def _streams(report: Report) -> Iterator[str]:
    counted = [(stream, stream.compared) for stream in report.streams if stream.compared is not None]
    if not counted:
        return
    yield "<h2>Documents</h2>"
    yield charts.stacks(
        "documents looked at: rows, and quarantine",
        [(stream.stream, (found.rows, found.quarantined)) for stream, found in counted],
    )
    parts = {one.stream: one for one in report.sample}
    rows = [
        (
            stream.stream,
            f"{parts[stream.stream].documents:,}" if stream.stream in parts else "-",
            f"{found.documents:,}",
            f"{found.rows:,}",
            f"{found.quarantined:,}",
        )
        for stream, found in counted
    ]
    yield _table(("stream", "in the collection", "looked at", "rows", "quarantined"), rows, numbers=4)
    kept = [
        (stream.stream, one.place or "-", one.reason, one.effect, f"{one.count:,}")
        for stream, _ in counted
        for one in stream.fit.kept
    ]
    if kept:
        yield "<h2>Kept as residue</h2>"
        yield _table(("stream", "place", "reason", "effect", "parts"), kept, numbers=1)


def _findings(report: Report) -> Iterator[str]:
    if not report.findings:
        return
    yield "<h2>Findings</h2>"
    rows = "".join(
        f'<tr><td class="{one.severity}">{one.severity}</td><td>{escape(one.code)}</td><td>{escape(one.message)}'
        f'<br><span class="faint">{escape(one.hint)}</span></td></tr>'
        for one in report.findings
    )
    yield f"<table><tr><th>severity</th><th>code</th><th>what, and what to do</th></tr>{rows}</table>"


def _list(title: str, lines: Sequence[str], kind: str = "") -> Iterator[str]:
    if lines:
        head = f"<h2>{escape(title)}</h2>" if title else ""
        yield f'{head}<ul class="{kind}">' + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: int) -> str:
    """The last or middle `numbers` columns behind the first text columns hold figures."""
    figures = {place for place, name in enumerate(head) if place and _is_figure(place, len(head), numbers)}
    cells = [_row("th", head, figures), *(_row("td", row, figures) for row in rows)]
    return f"<table>{''.join(cells)}</table>"


def _is_figure(place: int, columns: int, numbers: int) -> bool:
    return place <= numbers if numbers > 1 else place == columns - 1


def _row(tag: str, cells: Sequence[str], figures: set[int]) -> str:
    classes = ['class="number"' if place in figures else "" for place in range(len(cells))]
    return (
        "<tr>"
        + "".join(f"<{tag} {of}>{escape(cell)}</{tag}>" for of, cell in zip(classes, cells, strict=True))
        + "</tr>"
    )
