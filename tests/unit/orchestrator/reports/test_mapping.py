"""`tranship plan show`: what every path becomes, from the plan alone."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.unit.plans.texts import HEAD, write
from tranship.orchestrator.cli.main import BAD_PLAN, app

EXAMPLES = Path(str(files("tranship.plans").joinpath("examples")))

LOOSE = """\
stream profiles: documents of profiles → profiles.user_profiles
    user_id   bigint            _id                                            primary key
    nick      text              nick                            NULL: null
    score     double precision  score                           NULL: missing
    balance   numeric(12,2)     balance                         NULL: missing
    email     text              [e.mail]                        NULL: missing
    version   integer           v                               NULL: missing
    other     jsonb             (the fields without a column)
    _residue  bytea             (what no column holds exactly)

stream profiles: elements of badges in user_profiles, no rows: null → profiles.badges
    _root_user_id  bigint                    _id                                            primary key
    _ordinal       integer                   (position in the array)                        primary key
    name           text                      name                            NULL: missing
    earned_at      timestamp with time zone  earned_at                       NULL: missing
    _residue       bytea                     (what no column holds exactly)
"""

ODD = """\
streams:
  odd:
    key: {id: {path: _id, type: text, long: true}}
    columns: {"$oid": text, ctid_: {path: [ctid], type: array, items: objectid, null: null}}
    children: {lines: {path: a.b, columns: {line: {path: [], type: int32}}}}
"""


def show(plan: Path, *options: str) -> tuple[int, str]:
    """What the command says without anything in the environment."""
    result = CliRunner(env={"SOURCE_URI": None, "TARGET_URI": None}).invoke(app, ["plan", "show", str(plan), *options])
    return result.exit_code, result.output


def shown(plan: Path) -> list[dict[str, Any]]:
    code, output = show(plan, "--json")
    assert code == 0, output
    tables: list[dict[str, Any]] = json.loads(output)
    return tables


def test_what_people_see() -> None:
    assert show(EXAMPLES / "07-loose-documents.yaml") == (0, LOOSE)


@pytest.mark.parametrize("plan", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_example_can_be_shown_without_secrets(plan: Path) -> None:
    for table in shown(plan):
        names = [column["name"] for column in table["columns"]]
        assert names[-1] == "_residue"
        assert len(set(names)) == len(names)


def test_names_types_and_paths_are_exact(tmp_path: Path) -> None:
    root, lines = shown(write(tmp_path, HEAD + ODD))
    plain = {"about": "", "key": False, "unique": False}
    digest = {"type": "bytea", "path": None, "null": None, "key": True, "unique": False}
    residue = {"name": "_residue", "type": "bytea", "path": None, "null": None} | plain
    residue["about"] = "what no column holds exactly"
    place = {"name": "_ordinal", "type": "integer", "path": None, "null": None, "unique": False}
    assert root == {
        "stream": "odd", "collection": "odd", "schema": "shop", "table": "odd",
        "parent": None, "array": None, "empty": None, "where": None, "indexes": [],
        "columns": [
            {"name": "id", "type": "text", "path": ["_id"], "null": None} | plain,
            {"name": "id_sha256", "about": "SHA-256 of id"} | digest,
            {"name": "$oid", "type": "text", "path": ["$oid"], "null": "missing"} | plain,
            {"name": "ctid_", "type": "character(24)[]", "path": ["ctid"], "null": "null"} | plain,
            residue,
        ],
    }  # fmt: skip
    assert lines == {
        "stream": "odd", "collection": "odd", "schema": "shop", "table": "lines",
        "parent": "odd", "array": ["a", "b"], "empty": "empty", "where": None, "indexes": [],
        "columns": [
            {"name": "_root_id", "type": "text", "path": ["_id"], "null": None} | plain,
            {"name": "_root_id_sha256", "about": "SHA-256 of _root_id"} | digest,
            place | {"about": "position in the array", "key": True},
            {"name": "line", "type": "integer", "path": [], "null": "null"} | plain,
            residue,
        ],
    }  # fmt: skip


def test_keys_filters_and_indexes_are_shown() -> None:
    code, text = show(EXAMPLES / "03-polymorphic.yaml")
    assert code == 0
    assert re.search(r"^stream \w+: documents of \w+ where \{.*\} → ", text, re.MULTILINE)
    code, text = show(EXAMPLES / "02-shop.yaml")
    assert re.search(r"^    email +text +email .* unique$", text, re.MULTILINE)
    assert "\n    index (customer_id, placed_at)\n" in text


def test_a_plan_with_a_mistake_is_not_shown(tmp_path: Path) -> None:
    code, output = show(write(tmp_path, HEAD + "streams: {a: {columns: {ctid: text}}}\n"))
    assert code == BAD_PLAN
    assert "; write ctid_f10bb7a6: {path: ctid, type: text}" in output


def test_nothing_of_a_secret_is_shown(tmp_path: Path) -> None:
    plan = write(tmp_path, HEAD.replace("${env:SOURCE_URI}", "mongodb://user:secret@host") + ODD)
    code, output = show(plan)
    assert code == 0
    assert "secret" not in output


@pytest.mark.parametrize("text", ["[]\n", "source: 7\n", "source: {mongodb: []}\n", "7\n", "source:\n"])
def test_what_is_no_plan_is_a_problem_and_no_crash(text: str, tmp_path: Path) -> None:
    assert show(write(tmp_path, text))[0] == BAD_PLAN
