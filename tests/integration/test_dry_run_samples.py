"""`tranship dry-run` on a part of the documents, phases taken back from their middle, and what its options do."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from tests.integration.rehearsals import STREAMS, dumped, plan_of, rehearsed, shadows
from tests.integration.route import Route, wait_until, written_to

FINISHED, REFUSED = 0, 3


@pytest.fixture
def plan(route: Route) -> Path:
    return plan_of(route)


MANY = 6_000


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
    # Of 6,000 references one leads to nothing (t06000), and most lead out of the sample.
    assert report["dangling"]["things"]["friend"] <= 1
    assert report["dangling"]["things"]["of"] == 0
    assert report["divergences"] == []
    about = report["projection"]
    assert about["low"] <= about["seconds"] <= about["high"]
    assert about["seconds"] > report["seconds"], "a whole run takes longer than a sample's"


def test_seeds_choose_and_all_is_all(route: Route, large: Path) -> None:
    route.documents().delete_many({"_id": {"$gte": "t03000"}})
    route.documents().insert_one({"_id": "t05999", "name": 7, "number": 1})
    report = rehearsed(route, large, FINISHED, "--full")
    assert (report["coverage"], report["bounds"]) == ("every document", [])
    counted = {stream["stream"]: stream["compared"]["documents"] for stream in report["streams"]}
    assert counted == {"things": 3001, "owners": 5}
    assert "data.off_type" in {finding["code"] for finding in report["findings"]}, "one among thousands, and the last"


def test_phases_are_taken_back_from_their_middle(route: Route, large: Path) -> None:
    """Seen from outside: in the end all rows are there, and more were inserted, which are gone again."""
    child = route.start("dry-run", large, "--full", "--json")
    rows, inserted = 0, 0

    def look() -> bool:
        nonlocal rows, inserted
        for schema in [name for name in shadows(route) if name.startswith("moved")]:
            try:
                ((count,),) = route.query(f'select count(*) from "{schema}".things')
            except psycopg.errors.Error:
                continue
            told = route.query(
                "select n_tup_ins from pg_stat_user_tables where schemaname = %s and relname = 'things'", schema
            )
            rows, inserted = max(rows, count), max(inserted, *(number for (number,) in told), 0)
        return child.process.poll() is not None

    wait_until(look, what="the dry run to end")
    assert child.wait() == FINISHED, child.output
    assert rows == MANY
    assert inserted > MANY, "part of the rows, then none of them, then all"


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
