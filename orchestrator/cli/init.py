"""`tranship init`: a plan that is made from what the source holds."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from tranship.orchestrator import logs
from tranship.orchestrator.cli.commands import BAD_PLAN, exits, template
from tranship.orchestrator.cli.view import told
from tranship.orchestrator.dataplane.work import Work
from tranship.orchestrator.journal.sentences import count
from tranship.orchestrator.reports.status import utc
from tranship.plans.addresses import AddressError
from tranship.plans.resolution import source_of
from tranship.plans.rules import SYSTEM_DATABASES

SAMPLE = 20_000


def init(  # noqa: PLR0917  typer gives all of them by name
    output: Annotated[Path, typer.Option("--output", "-o", help="The plan to write.", show_default=False)],
    database: Annotated[str, typer.Option("--database", help="The database to move.", show_default=False)],
    source: Annotated[
        str, typer.Option("--source", help="The source's URI, or env:NAME or file:PATH, which hold it.", metavar="URI")
    ] = "env:SOURCE_URI",
    collections: Annotated[
        list[str] | None, typer.Option("--collections", help="Only this one; may be given several times.")
    ] = None,
    sample: Annotated[
        int, typer.Option("--sample", min=1, help="Documents to read of each collection; smaller ones are read whole.")
    ] = SAMPLE,
    full: Annotated[bool, typer.Option("--full", help="Read every document.")] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Chooses the sample.")] = 0,
) -> None:
    """Write a plan for a database, made from what its documents look like, and their figures beside it. Reads only."""
    from tranship.orchestrator.design.design import NothingToMoveError, design  # with the profiler's libraries
    from tranship.orchestrator.design.record import record_of, recorded
    from tranship.orchestrator.design.survey import Extent, UnknownCollectionError

    logs.configure(logs.default_format())
    beside = record_of(output)
    for path in (output, beside):
        if path.exists():
            _refuse(f"{path} is there already, and nothing was read: choose another name, or move it away")
    if not output.parent.is_dir():
        _refuse(f"the folder {output.parent} is not there")
    if database in SYSTEM_DATABASES:
        _refuse(f"the database {database} belongs to MongoDB: there is nothing to move")
    extent = Extent(None if full else sample, seed)
    work = Work(time.monotonic)
    with exits(), told(work):
        try:
            endpoint = source_of(template(source), database)
            made = design(endpoint, collections or (), extent, work)
        except AddressError as error:
            _refuse(f"--source: {error}")
        except (NothingToMoveError, UnknownCollectionError) as error:
            _refuse(f"{logs.without_secrets(str(error))}. Nothing was written")
    _write(beside, recorded(made.profiles, made.identity, utc(time.time()), extent))
    _write(output, made.text)
    left_out = [profile.name for profile in made.profiles if profile.left_out]
    typer.echo(f"{output}: {count(len(made.streams), 'stream')}; figures in {beside}", err=True)
    if left_out:
        typer.echo(f"left out, with the reasons at the end of the file: {', '.join(left_out)}", err=True)
    typer.echo(f"look through it, then: tranship check {shlex.quote(str(output))}", err=True)


def _write(path: Path, text: str) -> None:
    """A file that was not there: one that somebody made meanwhile is left alone."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        _refuse(f"{path} cannot be written: {error.strerror}")


def _refuse(text: str) -> NoReturn:
    typer.echo(text, err=True)
    raise typer.Exit(BAD_PLAN)
