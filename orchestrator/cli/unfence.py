"""`tranship unfence`: what of a fence stands on a source, and how it is taken away when nobody else can. It needs the
source alone: the passport of a fence is kept there."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import typer

from tranship.connectors.protocols import Owner, Routing, RoutingRecord
from tranship.connectors.protocols.fencing import Fences, Passport
from tranship.connectors.registry import Source, open_source
from tranship.orchestrator import logs
from tranship.orchestrator.cli.commands import BAD_PLAN, REFUSED, bad_input, confirm, exits, template
from tranship.orchestrator.phases.cutover.routing import lower, take_back
from tranship.plans.addresses import AddressError
from tranship.plans.resolution import source_of


def unfence(
    database: Annotated[str, typer.Option("--database", help="The source's database.", show_default=False)],
    source: Annotated[
        str, typer.Option("--source", help="The source's URI, or env:NAME or file:PATH, which hold it.", metavar="URI")
    ] = "env:SOURCE_URI",
    from_passport: Annotated[
        bool, typer.Option("--from-passport", help="Lower what stands, and make all as the passport says.")
    ] = False,
    handed_over: Annotated[
        bool,
        typer.Option("--although-handed-over", help="Also where the target is the primary: what is written is lost."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Say which fences stand on a source, or lower them by their passports. Needs no target and no plan."""
    logs.configure(logs.default_format())
    with exits():
        try:
            endpoint = source_of(template(source), database)
        except AddressError as error:
            bad_input(f"--source: {error}")
        with closing(open_source(endpoint, ())) as opened:
            _unfence(opened, database, from_passport=from_passport, handed_over=handed_over, yes=yes)


def _unfence(source: Source, database: str, *, from_passport: bool, handed_over: bool, yes: bool) -> None:
    fences = source.fences
    standing = [
        (owner, record, found)
        for owner, record in source.records.records()
        if fences is not None and (found := fences.passport(owner.id)) is not None
    ]
    if fences is None or not standing:
        typer.echo(f"no fence stands on database {database}")
        return
    for owner, record, passport in standing:
        _print(owner, record, passport)
    if not from_passport:
        raise typer.Exit(REFUSED)
    switched = [owner.run for owner, record, _ in standing if record.state is Routing.HANDED_OVER]
    if switched and not handed_over:
        typer.echo(
            f"the target is the primary of {', '.join(switched)}: applications that write to the source again write "
            "where nobody reads. Nothing was lowered; --although-handed-over does it",
            err=True,
        )
        raise typer.Exit(BAD_PLAN)
    confirm(
        f"Lower what stands on database {database}? An attempt at a cutover that is under way ends by that, and "
        "commands without an answer are forgotten: make sure that their processes have ended.",
        yes=yes,
    )
    lowered = [_lower(source, fences, owner, record) for owner, record, _ in standing]
    if not all(lowered):
        raise typer.Exit(REFUSED)


def _lower(source: Source, fences: Fences, owner: Owner, record: RoutingRecord) -> bool:
    if record.state is Routing.HANDED_OVER:
        lower(fences, owner.id, record.version)
    else:
        take_back(source, owner.id)
    left = fences.passport(owner.id)
    if left is not None and left.kind is not None:  # what another process has registered is its own to carry out
        typer.echo(f"another process lowers the fence of run {owner.run}: look again", err=True)
        return False
    fences.forget_commands(owner.id)
    typer.echo(f"lowered: the fence of run {owner.run}", err=True)
    return True


def _print(owner: Owner, record: RoutingRecord, passport: Passport) -> None:
    what = f"fence {passport.kind}, raised by attempt {passport.version}" if passport.kind else "no fence, but commands"
    typer.echo(f"run {owner.run} of plan {owner.plan}: {what}; the record says {record.state}({record.version})")
    for line in passport.changed:
        typer.echo(f"  before it: {line}")
    for command in passport.commands:
        typer.echo(f"  without an answer: {command.deed} of attempt {command.version}")
