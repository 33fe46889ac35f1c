"""The JSON of `status`, `check` and `dry-run`: each field is documented, and within a version fields are only added."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.test_docs import section, table
from tranship.orchestrator.rehearsal import report
from tranship.orchestrator.reports import checked, status

ROOT = Path(__file__).parents[4]
GOLDEN = Path(__file__).with_name("golden")
JSON = (ROOT / "docs" / "json.md").read_text(encoding="utf-8")

FORMS: dict[str, tuple[Any, int]] = {
    "status": (status.Status, status.VERSION),
    "check": (checked.Checked, checked.VERSION),
    "dry-run": (report.Report, report.VERSION),
}
"""What each command prints, and its version."""


def fields_of(kind: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """(path, type) of all fields: `[]` for the elements of a list, `{}` for the values of a mapping."""
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        for field in dataclasses.fields(kind):
            yield from fields_of(hints[field.name], f"{path}.{field.name}" if path else field.name)
        return
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:
        (inner,) = [one for one in arguments if one is not type(None)]
        found = list(fields_of(inner, path))
        if found and found[0][0] == path:
            yield path, f"{found[0][1]} or null"
            yield from found[1:]
        else:
            yield path, "object or null"
            yield from found
    elif origin is tuple:
        yield path, "list"
        yield from fields_of(arguments[0], f"{path}[]")
    elif origin is dict and arguments[1] is not Any:
        yield path, "object"
        yield from fields_of(arguments[1], f"{path}.*")
    else:
        yield path, {str: "text", int: "integer", float: "number", bool: "boolean"}.get(kind, "object")


@pytest.mark.parametrize("command", FORMS)
def test_every_field_is_documented(command: str) -> None:
    rows = [(cells[0].strip("`"), cells[1]) for cells in table(section(JSON, f"`{command} --json`"))]
    assert rows == list(fields_of(FORMS[command][0]))


@pytest.mark.parametrize("command", FORMS)
def test_nothing_was_taken_away_or_changed(command: str) -> None:
    """Against the last release's fields. A line that has to go, or another type, is a new version."""
    kind, version = FORMS[command]
    golden = (GOLDEN / f"{command}-{version}.txt").read_text(encoding="utf-8").splitlines()
    assert golden
    now = dict(fields_of(kind))
    assert {line: now.get(line.split()[0]) for line in golden} == {line: line.split(" ", 1)[1] for line in golden}
    assert f"version {version}" in section(JSON, f"`{command} --json`")
