"""`tranship dry-run`: the plan rehearsed against both servers, which are afterwards as before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tranship.connectors.printable import printable
from tranship.orchestrator import logs
from tranship.orchestrator.cli.commands import (
    REFUSED,
    AsJson,
    Format,
    PlanFile,
    bad_input,
    open_plan,
    signals,
    writable,
)
from tranship.orchestrator.cli.view import shown
from tranship.plans.units import parse_duration, parse_share

if TYPE_CHECKING:
    from tranship.orchestrator.engine.engine import Engine
    from tranship.orchestrator.engine.session import Session


SAMPLE = "5%"


def dry_run(  # noqa: PLR0917  typer gives all of them by name
    plan: PlanFile,
    sample: Annotated[
        str | None,
        typer.Option(
            "--sample",
            help="How much of each collection is looked at; small ones are looked at whole. Default: 5%.",
            show_default=False,
        ),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Look at every document.")] = False,
    seed: Annotated[int, typer.Option("--seed", help="Which part a sample is.")] = 0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A file that gets the report as JSON.", show_default=False)
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", help="A file that gets the report as a page.", show_default=False)
    ] = None,
    as_json: AsJson = False,
    keys: Annotated[
        bool, typer.Option("--keys", help="Name keys of rows that differ or refer to nothing: people's data.")
    ] = False,
    log_format: Format = None,
) -> None:
    """Rehearse the plan: everything but stopping writers and switching, in shadow schemas that are removed again."""
    if full and sample is not None:
        bad_input("--full looks at every document, --sample at some: give one of them")
    share = 1.0 if full else _share(sample or SAMPLE)
    writable(output, html)
    from tranship.orchestrator.rehearsal.dryrun import rehearse  # with all phases
    from tranship.orchestrator.rehearsal.page import page
    from tranship.orchestrator.rehearsal.printing import printed

    with open_plan(plan, log_format) as session:
        report = rehearse(session, _watched, share, seed, keys=keys)
    content = json.dumps(report.as_dict(), indent=2, ensure_ascii=False)
    if output is not None:
        output.write_text(content + "\n", encoding="utf-8")
    if html is not None:
        html.write_text(page(report), encoding="utf-8")
    if as_json:
        typer.echo(content)
    else:
        for line in printed(report):
            typer.echo(logs.without_secrets(line))
    raise typer.Exit(0 if report.may_start and not report.left else REFUSED)


def _share(text: str) -> float:
    try:
        share = parse_share(text)
    except ValueError as error:
        bad_input(f"--sample {printable(text)}: {error}")
    if not share:
        bad_input("--sample 0%: nothing would be looked at; write a share above 0%, such as 5%, or --full")
    return share


def admitted(session: Session, file: Path | None, max_age_s: float) -> str:
    """The digest of the report by which a run may begin; ends the command where it may not. Of a run that has begun
    nothing is asked any more."""
    active = session.active()
    begun = active is not None and bool(session.state(active).run)
    if begun or (file is None and session.plan.require.dry_run is None):
        return ""
    from tranship.orchestrator.rehearsal.gate import NotRehearsedError, admit

    try:
        return admit(session, file, max_age_s if file is not None else None)
    except NotRehearsedError as error:
        typer.echo(f"{error}. Nothing was changed.", err=True)
        raise typer.Exit(REFUSED) from None


def age_of(text: str) -> float:
    """Seconds."""
    try:
        return parse_duration(text)
    except ValueError as error:
        bad_input(f"--max-age {printable(text)}: {error}")


def purge_shadows(session: Session) -> None:
    """Remove what dry runs of the plan have left behind, and say so."""
    from tranship.orchestrator.rehearsal.leftovers import remove

    gone, used = remove(session)
    for name in gone:
        typer.echo(f"removed: the shadow with the state schema {name}", err=True)
    for name in used:
        typer.echo(f"in use, or killed less than {session.plan.limits.lease:g} s ago: {name}", err=True)
    if not gone and not used:
        typer.echo("no dry run of this plan has left anything", err=True)
    raise typer.Exit(REFUSED if used else 0)


@contextmanager
def _watched(session: Session, engine: Engine) -> Iterator[None]:
    with shown(session, engine), signals(engine):
        yield
