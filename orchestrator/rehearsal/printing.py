"""A dry run's report as lines for people."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tranship.connectors.printable import printable
from tranship.orchestrator.rehearsal.report import Report
from tranship.orchestrator.reports.fit import lines
from tranship.orchestrator.reports.sizes import size
from tranship.orchestrator.reports.status import brief, duration, equation


def printed(report: Report) -> Iterator[str]:
    """The report as lines."""
    for finding in report.findings:
        yield f"{finding.severity} {finding.code}: {finding.message}" + (f"\n  {finding.hint}" if finding.hint else "")
    if report.sample:
        yield f"looked at: {report.coverage}"
    yield from _streams(report)
    yield from _times(report)
    for line in report.bounds:
        yield f"to be known: {line}"
    for line in report.not_rehearsed:
        yield f"not rehearsed: {line}"
    for line in report.left:
        yield f"left, for `tranship purge PLAN --shadows`: {line}"
    for line in report.against:
        yield f"against a run: {line}"
    yield "the run may start" if report.may_start else "the run may not start"


def _streams(report: Report) -> Iterator[str]:
    for stream in report.streams:
        counted = f"{stream.rows:,} rows loaded, {stream.quarantined:,} quarantined"
        yield f"{stream.stream}: {equation(stream.compared) if stream.compared is not None else counted}"
        yield from (f"  {line}" for line in lines(stream.stream, replace(stream.fit, against_switch=())))
        for column, keys in report.examples.get(stream.stream, {}).items():
            yield f"  {column} refers in vain to {', '.join(keys)}"
    divergences = [*report.divergences, *(one for left_out in report.left_out for one in left_out.divergences)]
    for one in divergences:
        if "key" in one:
            yield f"{one['stream']}: {one['kind']}: {printable(str(one['key']))}"


def _times(report: Report) -> Iterator[str]:
    if report.phases:
        took = ", ".join(f"{one.phase} {brief(one.seconds)}" for one in report.phases if one.seconds is not None)
        yield f"phases: {took}"
        back = [one.phase for one in report.phases if one.halfway]
        if back:
            yield f"taken back from the middle, and done again: {', '.join(back)}"
    if report.projection is not None:
        about = report.projection
        between = "" if about.low == about.high else f" (between {brief(about.low)} and {brief(about.high)})"
        yield f"a run would take about {brief(about.seconds)}{between} to its cutover, as the servers are loaded now"
    if report.cutover:
        wait = report.cutover["drained_s"] + report.cutover["compared_s"]
        yield f"writers would stand still for about {brief(wait)} and the quiet time"
    if report.target_bytes is not None:
        took = size(report.target_bytes)
        yield f"tables and indexes would take about {took}; how much is free, PostgreSQL does not tell"
    if report.history_s is not None:
        yield f"the source's history reaches back {duration(report.history_s)}: so long capture may be away"
