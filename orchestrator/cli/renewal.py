"""`tranship init --update`: a plan gets what is new in its database; what a person has written stays as it is."""

from __future__ import annotations

import difflib
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from tranship.connectors.printable import printable
from tranship.orchestrator import logs
from tranship.orchestrator.cli.commands import bad_input, exits, template
from tranship.orchestrator.cli.view import told
from tranship.orchestrator.dataplane.work import Work
from tranship.orchestrator.reports.status import utc
from tranship.plans import PlanError, load_without_addresses
from tranship.plans.addresses import AddressError
from tranship.plans.edits import EditError
from tranship.plans.resolution import source_of

if TYPE_CHECKING:
    from tranship.orchestrator.design.survey import Extent


def renewed(path: Path, source: str, extent: Extent) -> None:
    """Put what is new into the plan at `path`, print the difference, and say what a person has to decide."""
    from tranship.orchestrator.design.design import update  # with the profiler's libraries
    from tranship.orchestrator.design.record import RecordError, known, record_of, recorded

    beside = record_of(path)
    work = Work(time.monotonic)
    with exits(), told(work):
        plan = load_without_addresses(path).plan
        text = path.read_text(encoding="utf-8")
        try:
            before = known(beside)
            endpoint = source_of(template(source), plan.source.database)
            made, said = update(endpoint, plan, text, before, extent=extent, work=work)
        except AddressError as error:
            bad_input(f"--source: {error}")
        except (RecordError, EditError) as error:
            bad_input(f"{error}. Nothing was changed")
    if made.text != text:
        _replace(path, made.text, check=True)
    typer.echo(_difference(text, made.text, path), nl=False)
    taken_at = utc(time.time())
    figures = recorded(
        made.profiles, made.streams, source=made.identity, taken_at=taken_at, extent=extent, before=before
    )
    _replace(beside, figures, check=False)
    for sentence in said:
        typer.echo(f"yours to decide: {printable(logs.without_secrets(sentence))}", err=True)
    typer.echo(
        f"{path}: {'what is new is in it' if made.text != text else 'nothing is new'}; figures in {beside}", err=True
    )


def _difference(old: str, new: str, path: Path) -> str:
    lines = difflib.unified_diff(old.splitlines(keepends=True), new.splitlines(keepends=True), str(path), str(path))
    return "".join(lines)


def _replace(path: Path, text: str, *, check: bool) -> None:
    """The whole file at once. `check`: a plan, which has to be one that can be used."""
    made = path.with_name(f".{path.name}.new")
    try:
        made.write_text(text, encoding="utf-8")
        if path.exists():
            shutil.copymode(path, made)
        if check:
            load_without_addresses(made)
        os.replace(made, path)
    except PlanError as error:
        problems = str(error).replace(str(made), str(path))
        bad_input(f"with what is new the plan would have problems, so it was left as it is:\n{problems}")
    except OSError as error:
        bad_input(f"{path} cannot be written: {error.strerror}")
    finally:
        made.unlink(missing_ok=True)
