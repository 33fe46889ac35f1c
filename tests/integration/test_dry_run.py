"""`tranship dry-run`: what it says, what refuses it, and that both sides are afterwards as before."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId
from typer.testing import CliRunner

from tests.integration.rehearsals import dumped, held, plan_of, rehearsed
from tests.integration.route import Route, written_to
from tranship.connectors.postgresql import indexes
from tranship.orchestrator.cli.main import app

FINISHED, REFUSED = 0, 3


@pytest.fixture
def plan(route: Route) -> Path:
    return plan_of(route)


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
    result = CliRunner(env=route.environment).invoke(app, ["dry-run", str(plan), "--json", "--keys"])
    assert result.exit_code == REFUSED, result.output
    assert (dumped(route), held(route)) == before
    report = json.loads(result.stdout)
    assert report["may_start"] is False
    assert any("owners" in why and "held by several rows" in why for why in report["against"])
    (left_out,) = report["left_out"]
    held_twice = {(one["key"]["_id"], one["kind"]) for one in left_out["divergences"]}
    assert (left_out["stream"], held_twice) == ("owners", {("o3", "duplicate"), ("twin", "duplicate")})
    assert "data.duplicate" in {finding["code"] for finding in report["findings"]}
    # The other stream is rehearsed to its end all the same.
    (things_,) = report["streams"]
    assert things_["compared"] == {"documents": 300, "rows": 300, "quarantined": 0}


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


def test_what_is_planted_in_the_documents_is_named(route: Route) -> None:
    """Late, once each, among thousands that fit: what a look at some of them would miss. Behind it all is mended."""
    wide = {f"c{number}": {"type": "float64", "filled": "optional"} for number in range(1100)}
    streams = {
        "things": {
            "key": {"_id": "text"},
            "columns": {
                "name": "text",
                "number": {"type": "int64", "bson": "int32"},
                "of": {"type": "text", "references": "owners"},
            },
            "indexes": [{"columns": ["name"]}],
        },
        "owners": {"key": {"_id": "text"}, "columns": {"mail": "text"}},
        "wide": {"key": {"_id": "text"}, "columns": wide},
    }
    plan = route.plan(streams, limits={"workers": 1, "lease": "3s"}, cutover={"max_quarantined": 1})
    route.documents("owners").insert_one({"_id": "o1", "mail": "m1"})
    route.documents("wide").insert_many([{"_id": "a", "c1": 1.5}, {"_id": "b", **dict.fromkeys(wide, 1.5)}])
    whole = {"name": "n", "number": 1, "of": "o1"}
    late: list[dict[str, Any]] = [
        {"number": "seven"},
        {"of": "nobody"},
        {"name": "a\0b"},
        {"name": secrets.token_hex(4000)},
    ]
    route.documents().insert_many({"_id": f"t{n:05}", **whole} for n in range(3000))
    route.documents().insert_many({"_id": f"z{n}", **whole, **odd} for n, odd in enumerate(late))
    report = rehearsed(route, plan, FINISHED, "--full")
    named = {(found["code"], found["stream"]) for found in report["findings"] if found["stream"]}
    assert named == {
        ("data.off_type", "things"),
        ("data.dangling", "things"),
        ("data.nul", "things"),
        ("target.index_entry", "things"),
        ("target.row_width", "wide"),
    }
    route.documents().update_many({"_id": {"$gte": "z"}}, {"$set": whole})
    route.documents("wide").delete_one({"_id": "b"})
    report = rehearsed(route, plan, FINISHED, "--full")
    assert [found for found in report["findings"] if found["stream"]] == []


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


def test_what_check_finds_of_the_servers_refuses_it_and_makes_nothing(route: Route, plan: Path) -> None:
    route.query("create schema tranship; create table tranship.theirs (mine int)")
    before = dumped(route), held(route)
    report = rehearsed(route, plan, REFUSED)
    assert (dumped(route), held(route)) == before
    assert (report["phases"], report["streams"]) == ([], [])
    assert "target.state_taken" in report["against"][0]


def test_what_check_finds_of_a_stream_leaves_only_that_out(route: Route, plan: Path) -> None:
    route.query("create schema moved; create table moved.things (mine int)")
    before = dumped(route), held(route)
    report = rehearsed(route, plan, REFUSED)
    assert (dumped(route), held(route)) == before
    assert [(one["stream"], one["why"].split(":")[0]) for one in report["left_out"]] == [
        ("things", "target.name_taken")
    ]
    assert [stream["stream"] for stream in report["streams"]] == ["owners"]
    assert report["streams"][0]["compared"] == {"documents": 5, "rows": 5, "quarantined": 0}
    route.query("drop table moved.things; drop schema moved; create schema moved; create table moved.owners (mine int)")
    before = dumped(route)
    report = rehearsed(route, plan, REFUSED)  # to whose keys the other refers
    assert dumped(route) == before
    assert ([stream["stream"] for stream in report["streams"]], report["dangling"]) == (["things"], {})
