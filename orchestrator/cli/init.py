"""`tranship init`: a plan that is made from what the source holds."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tranship.orchestrator import logs
from tranship.orchestrator.cli.commands import bad_input, exits, template
from tranship.orchestrator.cli.renewal import renewed
from tranship.orchestrator.cli.view import told
from tranship.orchestrator.dataplane.work import Work
from tranship.orchestrator.journal.sentences import count
from tranship.orchestrator.reports.status import utc
from tranship.plans.addresses import AddressError
from tranship.plans.resolution import source_of
from tranship.plans.rules import SYSTEM_DATABASES

if TYPE_CHECKING:
    from tranship.orchestrator.design.survey import Extent

SAMPLE = 20_000


def init(  # noqa: PLR0917  typer gives all of them by name
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The plan to write.", show_default=False)
    ] = None,
    database: Annotated[
        str | None, typer.Option("--database", help="The database to move.", show_default=False)
    ] = None,
    update: Annotated[
        Path | None,
        typer.Option("--update", help="A plan that gets what is new, in place of a new one.", show_default=False),
    ] = None,
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
    from tranship.orchestrator.design.survey import Extent

    logs.configure(logs.default_format())
    extent = Extent(None if full else sample, seed)
    if update is not None:
        if output is not None or database is not None or collections:
            bad_input("--update takes the plan as it is: leave -o, --database and --collections out")
        renewed(update, source, extent)
    elif output is None or database is None:
        bad_input("say the --database, and the plan to write with -o; or a plan to --update")
    else:
        _made(output, database, source, collections or (), extent)


def _made(output: Path, database: str, source: str, collections: Sequence[str], extent: Extent) -> None:
    from tranship.orchestrator.design.design import NothingToMoveError, design  # with the profiler's libraries
    from tranship.orchestrator.design.record import record_of, recorded
    from tranship.orchestrator.design.survey import UnknownCollectionError

    beside = record_of(output)
    for path in (output, beside):
        if path.exists():
            bad_input(f"{path} is there already, and nothing was read: choose another name, or move it away")
    if not output.parent.is_dir():
        bad_input(f"the folder {output.parent} is not there")
    if database in SYSTEM_DATABASES:
        bad_input(f"the database {database} belongs to MongoDB: there is nothing to move")
    work = Work(time.monotonic)
    with exits(), told(work):
        try:
            endpoint = source_of(template(source), database)
            made = design(endpoint, collections, extent, work)
        except AddressError as error:
            bad_input(f"--source: {error}")
        except (NothingToMoveError, UnknownCollectionError) as error:
            bad_input(f"{logs.without_secrets(str(error))}. Nothing was written")
    taken_at = utc(time.time())
    _write(beside, recorded(made.profiles, made.streams, source=made.identity, taken_at=taken_at, extent=extent))
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
        bad_input(f"{path} cannot be written: {error.strerror}")
