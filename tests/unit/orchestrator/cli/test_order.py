"""The command line's own pages: the order of use, an example for each command, the version."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from tranship.orchestrator.cli.main import app
from tranship.orchestrator.cli.order import EXAMPLES

ROOT: Any = typer.main.get_command(app)


def commands(group: Any = ROOT, above: str = "") -> Iterator[str]:
    """Every command, in the order in which they are listed."""
    for name in group.list_commands(None):
        command = group.get_command(None, name)
        if hasattr(command, "list_commands"):
            yield from commands(command, f"{name} ")
        else:
            yield above + name


def test_every_command_has_an_example_and_no_other_has() -> None:
    assert sorted(commands()) == sorted(EXAMPLES)


def test_commands_are_listed_in_the_order_of_use() -> None:
    listed = ROOT.list_commands(None)
    assert listed[:8] == ["sandbox", "init", "plan", "schema", "check", "dry-run", "run", "status"]
    assert listed.index("approve") < listed.index("rollback") < listed.index("purge")
    assert ROOT.get_command(None, "sandbox").list_commands(None) == ["up", "status", "down"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_help_ends_with_an_example_of_this_very_command(name: str) -> None:
    said = CliRunner().invoke(app, [*name.split(), "--help"], env={"COLUMNS": "120"}).output
    assert f"Example: `{EXAMPLES[name]}`" in said
    typed = EXAMPLES[name].removeprefix('eval "$(').removesuffix(')"')
    words = shlex.split(typed)
    assert words[: 1 + len(name.split())] == ["tranship", *name.split()]
    _parse(name, words[1 + len(name.split()) :])


def _parse(name: str, arguments: list[str]) -> None:
    """Raises a usage error when the example could not be typed."""
    command = ROOT
    for word in name.split():
        command = command.get_command(None, word)
    arguments = arguments[: arguments.index(">")] if ">" in arguments else arguments
    command.make_context(name, arguments)


def test_the_version_is_told() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.output) == (0, f"tranship {version('tranship')}\n")
