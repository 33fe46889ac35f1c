"""Whether a dry run's report lets a run begin: of the same servers and the same plan, young enough, and in favour.

A report is a file that anybody can write: it keeps a person from an oversight, not from a lie.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tranship.connectors.printable import printable
from tranship.orchestrator.engine.session import Session
from tranship.orchestrator.rehearsal.judgement import thresholds
from tranship.orchestrator.rehearsal.report import VERSION
from tranship.orchestrator.reports.status import duration
from tranship.plans.fingerprint import meaning

AHEAD_S = 60.0
"""A report may be so much from the future: its time is cut to seconds, and clocks are set back a little."""


class NotRehearsedError(Exception):
    """The run may not begin; nothing was changed."""


def admit(session: Session, file: Path | None, max_age_s: float | None) -> str:
    """The SHA-256 of the report, in hex; empty where none is given and the plan demands none. Raises
    `NotRehearsedError` with all that is against it. Reads only.

    `max_age_s`: how old it may be, if the plan does not say less.
    """
    demanded = session.plan.require.dry_run
    if file is None:
        if demanded is None:
            return ""
        raise NotRehearsedError(
            f"the plan demands a dry run not older than {duration(demanded)} (require.dry_run): "
            f"tranship dry-run {session.file} -o report.json, then tranship run {session.file} --dry-run-report "
            "report.json"
        )
    ages = [age for age in (demanded, max_age_s) if age is not None]
    content, report = _read(file)
    against = list(_against(session, report, min(ages, default=None)))
    if against:
        raise NotRehearsedError(f"{printable(str(file))} lets no run begin: {'; '.join(against)}. Rehearse it anew")
    return hashlib.sha256(content).hexdigest()


def _read(file: Path) -> tuple[bytes, Mapping[str, Any]]:
    try:
        content = file.read_bytes()
        report = json.loads(content)
    except OSError as error:
        raise NotRehearsedError(f"{printable(str(file))} cannot be read: {error.strerror}") from None
    except ValueError:
        raise NotRehearsedError(f"{printable(str(file))} is no report of a dry run: it is no JSON") from None
    if not isinstance(report, dict) or "may_start" not in report or report.get("version") != VERSION:
        known = "`tranship dry-run PLAN -o FILE` writes one"
        raise NotRehearsedError(f"{printable(str(file))} is no report of a dry run of this version; {known}")
    return content, report


def _against(session: Session, report: Mapping[str, Any], max_age_s: float | None) -> Iterator[str]:
    if report["may_start"] is not True:
        yield "it says that the run may not start"
    with closing(session.connect.source()) as source, closing(session.connect.schema()) as schema:
        there = {"source": source.identity(), "target": schema.identity()}
        now = schema.now()
    for side, identity in there.items():
        if report.get(side) != identity:
            yield f"it is of another {side} ({printable(str(report.get(side)))}, this is {identity})"
    if report.get("meaning") != meaning(session.plan):
        yield "it is of a plan with another meaning"
    known = report.get("thresholds")
    for name, allowed in thresholds(session.plan).items():
        then = known.get(name) if isinstance(known, dict) else None
        if not isinstance(then, int | float) or then > allowed:
            yield f"it went by {name} of {then}, and the plan allows {allowed}"
    yield from _age(report, now, max_age_s)


def _age(report: Mapping[str, Any], now: float, max_age_s: float | None) -> Iterator[str]:
    """By the target's clock, by which the report was dated."""
    try:
        taken = datetime.strptime(str(report.get("taken_at")), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        yield "it does not say when it was taken"
        return
    if taken > now + AHEAD_S:
        yield "it is from the future by the target's clock"
    elif max_age_s is not None and now - taken > max_age_s:
        yield f"it is {duration(now - taken)} old, and may be {duration(max_age_s)}"
