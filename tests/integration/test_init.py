"""`tranship init`: the plans for six databases, letter by letter, each carried out as it is; and what it refuses.

A golden file is read by a person before it is committed; `TRANSHIP_WRITE_GOLDEN=1` writes them anew.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymongo
import pytest
import yaml
from bson import ObjectId

from tests.integration.route import Route
from tests.integration.samples import SAMPLES
from tranship.orchestrator.sandbox import Servers
from tranship.plans import load

FINISHED, DIVERGED, BAD_PLAN, REFUSED, PAUSED = 0, 1, 2, 3, 7
GOLDEN = Path(__file__).parent / "golden" / "init"


@dataclass
class Place:
    """A database of a fixed name, and a folder."""

    route: Route
    client: pymongo.MongoClient[dict[str, Any]]
    name: str = "init_test"

    @property
    def folder(self) -> Path:
        return self.route.folder

    @property
    def database(self) -> Any:
        return self.client[self.name]

    def init(self, *arguments: str, output: str = "made.yaml") -> tuple[int, str, Path]:
        path = self.folder / output
        code, said = self.route.tranship("init", "--database", self.name, "-o", path, *arguments)
        return code, said, path


@pytest.fixture
def place(servers: Servers, route: Route) -> Iterator[Place]:
    with pymongo.MongoClient[dict[str, Any]](servers.source_uri) as client:
        route.environment["SOURCE_URI"] = servers.source_uri
        made = Place(route, client)
        client.drop_database(made.name)
        yield made
        client.drop_database(made.name)


def filled(place: Place, name: str) -> Place:
    place.name = name
    SAMPLES[name]().fill(place.client, name)
    return place


# --- six databases ----------------------------------------------------------------------------------------------------


MISFITS = {"legacy": "limits.misfit allows 1%"}
"""Plans whose cutover a person has to decide on: 1 of 8 values cannot be held."""

PLANTED: dict[str, tuple[str, dict[str, Any], dict[str, Any], tuple[str, str, str]]] = {
    "legacy": ("odd", {"_id": "nul"}, {"v": "a b"}, ("data.misfit", "error", "odd"))
}
"""The one value that PostgreSQL cannot hold, a text with U+0000: where, what it is mended to, how it is named."""


@pytest.mark.parametrize("name", SAMPLES)
def test_a_plan_is_as_a_person_has_read_it_and_runs_as_it_is(place: Place, name: str) -> None:
    """Made, looked at and rehearsed without a warning; and to a clean comparison, nothing kept aside, and, but where
    the plan says otherwise, hardly a residue."""
    filled(place, name)
    code, said, made = place.init("--full")
    assert code == FINISHED, said
    golden = GOLDEN / f"{name}.yaml"
    if os.environ.get("TRANSHIP_WRITE_GOLDEN"):
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_text(made.read_text(encoding="utf-8"), encoding="utf-8")
    assert made.read_text(encoding="utf-8") == golden.read_text(encoding="utf-8")
    _is_clean(place, name, made)
    _runs(place, name, yaml.safe_load(golden.read_text(encoding="utf-8")))


def _is_clean(place: Place, name: str, made: Path) -> None:
    """Some thousand documents of an application have nothing to warn of; what is planted is named, and then mended."""
    if name in PLANTED:
        collection, which, mended, finding = PLANTED[name]
        assert _above_info(place.route, "check", made) == (REFUSED, {finding})
        whole = place.database[collection].find_one_and_update(which, {"$set": mended})
    assert _above_info(place.route, "check", made) == (FINISHED, set())
    assert _above_info(place.route, "dry-run", made) == (FINISHED, set())
    if name in PLANTED:
        place.database[collection].replace_one(which, whole)


def _above_info(route: Route, command: str, plan: Path) -> tuple[int, set[tuple[str, str, str]]]:
    code, said = route.tranship(command, plan, "--json")
    report = json.loads(said[said.index('{\n  "version"') :])
    found = {(one["code"], one["severity"], one["stream"]) for one in report["findings"]}
    return code, {one for one in found if one[1] != "info"}


def _runs(place: Place, name: str, golden: dict[str, Any]) -> None:
    path = place.folder / "plan.yaml"
    quick = {"cutover": {"quiet": "300ms"}, "limits": {"workers": 1, "lease": "3s"}}
    path.write_text(yaml.safe_dump({**golden, **quick}, sort_keys=False), encoding="utf-8")
    run = place.route.run_to_approval(path)
    code, said = place.route.tranship("reconcile", path, "--json")
    assert code == FINISHED, said
    compared = json.loads(said[said.index("{") :])
    documents = sum(len(some) for some in SAMPLES[name]().collections.values())
    assert (compared["rows"], compared["quarantined"], compared["divergences"]) == (documents, 0, [])
    for stream, most in RESIDUES[name].items():
        schema, table = golden["target"]["schema"], golden["streams"][stream].get("table", stream)
        ((rows, residues),) = place.route.query(f'select count(*), count(_residue) from "{schema}"."{table}"')
        assert residues <= most * rows, f"{stream}: {residues} of {rows}"
    code, said = place.route.tranship("approve", path)
    if name in MISFITS:
        assert (code, MISFITS[name] in said) == (DIVERGED, True), said
        return
    assert code == FINISHED, said
    assert run.wait() == FINISHED, run.output


RESIDUES: dict[str, dict[str, float]] = {
    "shop": {"customers": 0, "orders": 0.01, "products": 0},
    "tenants": {"documents": 0, "people": 0, "tenants": 0},
    # Whole numbers that are doubles, where most whole ones are not: their form.
    "events": {"daily": 0, "log": 0.13, "queue": 0},
    "polymorphic": {"contacts": 0, "media_photo": 0, "media_text": 0, "media_video": 0, "mixed_keys": 0},
    "nested": {"boards": 0, "courses": 0},
    # Half of the users have their fields backwards; fields of a wide collection stand anywhere.
    "legacy": {"Users": 0, "odd": 0.12, "users": 0.51, "wide": 1, "one": 0, "empty": 0},
}


@pytest.mark.parametrize("name", SAMPLES)
def test_what_is_always_of_one_type_has_a_column_of_it(place: Place, name: str) -> None:
    """Judged by the server's own count of types, not by the profile."""
    filled(place, name)
    golden = yaml.safe_load((GOLDEN / f"{name}.yaml").read_text(encoding="utf-8"))
    typed = {
        (stream.get("from", stream_name), tuple(path))
        for stream_name, stream in golden["streams"].items()
        for path, kind in _columns(stream)
        if kind != "json"
    }
    for collection, documents in SAMPLES[name]().collections.items():
        for field, count in _scalars(place.client[name][collection]).items():
            if count >= max(1, 0.05 * len(documents)) and field != "_id":
                # A field among hundreds is common if so many documents have it.
                assert (collection, (field,)) in typed, f"{collection}.{field}: {count} of {len(documents)}"


def _columns(stream: dict[str, Any]) -> Iterator[tuple[list[str], str]]:
    for name, spec in stream.get("columns", {}).items():
        declared = spec if isinstance(spec, dict) else {"type": spec}
        path = declared.get("path", name)
        yield path if isinstance(path, list) else path.split("."), declared["type"]


def _scalars(collection: Any) -> dict[str, int]:
    """Top fields of one scalar type, as the server counts them, with how many documents have them."""
    pipeline = [
        {"$project": {"pairs": {"$objectToArray": "$$ROOT"}}},
        {"$unwind": "$pairs"},
        {"$group": {"_id": {"k": "$pairs.k", "t": {"$type": "$pairs.v"}}, "n": {"$sum": 1}}},
    ]
    types: dict[str, dict[str, int]] = {}
    for found in collection.aggregate(pipeline):
        types.setdefault(found["_id"]["k"], {})[found["_id"]["t"]] = found["n"]
    scalar = {"int", "long", "double", "decimal", "string", "objectId", "date", "bool"}
    usual = {name: max(kinds, key=lambda kind: kinds[kind]) for name, kinds in types.items()}
    return {
        name: sum(kinds.values())
        for name, kinds in types.items()
        if usual[name] in scalar and kinds[usual[name]] >= 0.99 * sum(n for kind, n in kinds.items() if kind != "null")
    }


# --- the same again ---------------------------------------------------------------------------------------------------


def test_one_seed_gives_one_plan_and_reads_a_part_from_everywhere(place: Place) -> None:
    documents = [{"_id": ObjectId(n.to_bytes(12)), "n": n, "half": "old" if n < 5000 else 1} for n in range(10_000)]
    documents[-1]["late"] = True
    place.database["numbers"].insert_many(documents)
    texts = []
    for output, seed in (("a.yaml", "1"), ("b.yaml", "1"), ("c.yaml", "2")):
        code, said, path = place.init("--sample", "1000", "--seed", seed, output=output)
        assert code == FINISHED, said
        texts.append(path.read_text(encoding="utf-8"))
    assert texts[0] == texts[1]
    assert "of 10,000 documents were read" in texts[0]
    profile = json.loads((place.folder / "a.profile.json").read_text(encoding="utf-8"))
    (half,) = [p for p in profile["collections"]["numbers"]["paths"] if p["path"] == ["half"]]
    counts = {kind: found["count"] for kind, found in half["types"].items()}
    assert 1000 <= sum(counts.values()) <= 1100
    assert min(counts.values()) > 250, "both ends of the key space"
    assert ["late"] in [p["path"] for p in profile["collections"]["numbers"]["paths"]], "the newest is always looked at"
    others = json.loads((place.folder / "c.profile.json").read_text(encoding="utf-8"))
    assert others["seed"] == 2


def test_figures_are_kept_without_any_value(place: Place) -> None:
    filled(place, "shop")
    code, said, path = place.init("--full")
    assert code == FINISHED, said
    text = path.with_name("made.profile.json").read_text(encoding="utf-8")
    profile = json.loads(text)
    assert profile["version"] == 1
    assert set(profile["collections"]) == {"customers", "orders", "products"}
    for value in ("Łovelace", "example.org", "sku-0", "paid", "+48"):
        assert value not in text
    assert "@" not in text
    (total,) = [p for p in profile["collections"]["orders"]["paths"] if p["path"] == ["total"]]
    assert total["types"]["decimal128"]["scales"] == {"2": 599}


def test_secrets_never_reach_the_plan(place: Place) -> None:
    filled(place, "shop")
    uri = place.route.environment["SOURCE_URI"]
    code, said, path = place.init("--source", "env:WHERE", output="by_env.yaml")
    assert (code, "WHERE is not set" in said) == (BAD_PLAN, True), said
    code, said = place.route.tranship("init", "--database", place.name, "-o", path, "--source", "env:WHERE", WHERE=uri)
    assert code == FINISHED, said
    assert '"${env:SOURCE_URI}"' in path.read_text(encoding="utf-8")
    code, said, _ = place.init("--source", "mongodb://me:hunter2@db.example/", output="literal.yaml")
    assert (code, "a literal password" in said, "hunter2" in said) == (BAD_PLAN, True, False), said


# --- bad input --------------------------------------------------------------------------------------------------------


def test_nothing_is_overwritten(place: Place) -> None:
    filled(place, "shop")
    path = place.folder / "made.yaml"
    path.write_text("mine", encoding="utf-8")
    code, said, _ = place.init()
    assert (code, "is there already" in said) == (BAD_PLAN, True), said
    assert path.read_text(encoding="utf-8") == "mine"
    assert not (place.folder / "made.profile.json").exists()
    code, said, _ = place.init(output="nowhere/made.yaml")
    assert (code, "the folder" in said) == (BAD_PLAN, True), said


def test_what_is_not_there_is_named(place: Place) -> None:
    code, said, path = place.init()
    assert (code, "it has no collections" in said, path.exists()) == (BAD_PLAN, True, False), said
    filled(place, "shop")
    code, said, _ = place.init("--collections", "costumers")
    assert (code, "no collection costumers, but customers, orders, products" in said) == (BAD_PLAN, True), said
    code, said, path = place.init("--collections", "products")
    assert code == FINISHED, said
    text = path.read_text(encoding="utf-8")
    assert list(load(path, place.route.environment | {"TARGET_URI": "postgresql://x/y"}).streams) == ["products"]
    assert "# customers: it was not asked for" in text


def test_keys_of_every_type_are_sampled(place: Place) -> None:
    """A type whose keys lie far apart does not take the whole sample."""
    place.database["mixed"].insert_many([{"_id": f"key-{n:05}", "of": "text"} for n in range(3000)])
    place.database["mixed"].insert_many([{"_id": ObjectId(n.to_bytes(12)), "of": "id"} for n in range(3000)])
    place.database["mixed"].insert_many([{"_id": n, "of": 1} for n in range(3000)])
    code, said, path = place.init("--sample", "1500")
    assert code == FINISHED, said
    profile = json.loads(path.with_name("made.profile.json").read_text(encoding="utf-8"))["collections"]["mixed"]
    (key,) = [found for found in profile["paths"] if found["path"] == ["_id"]]
    counts = {kind: values["count"] for kind, values in key["types"].items()}
    assert set(counts) == {"string", "objectid", "int32"}
    assert min(counts.values()) >= 300, counts
    assert key["distinct"] > 0.95 * sum(counts.values()), "no document was read twice"


@pytest.mark.parametrize("name", ["admin", "local"])
def test_databases_of_mongodb_are_refused(place: Place, name: str) -> None:
    path = place.folder / "x.yaml"
    code, said = place.route.tranship("init", "--database", name, "-o", path)
    assert (code, "belongs to MongoDB" in said, path.exists()) == (BAD_PLAN, True, False), said


def test_names_of_databases_that_are_no_names(place: Place) -> None:
    for name in ("", "a b", "a.b"):
        code, said = place.route.tranship("init", "--database", name, "-o", place.folder / "x.yaml")
        assert (code, "Traceback" in said) in ((BAD_PLAN, False), (REFUSED, False)), said


def test_a_column_for_the_rest_has_a_name_of_its_own(place: Place) -> None:
    names = ("rest", "Rest", "other_fields", "rest_of_document")
    documents = [
        {"_id": n, **dict.fromkeys(names, n), **{f"field_{(7 * n + m) % 900}": m for m in range(20)}}
        for n in range(200)
    ]
    place.database["wide"].insert_many(documents)
    code, said, path = place.init()
    assert code == FINISHED, said
    code, said = place.route.tranship("check", path)
    assert code == FINISHED, said
    stream = yaml.safe_load(path.read_text(encoding="utf-8"))["streams"]["wide"]
    assert set(names[:1] + names[2:]) <= set(stream["columns"])
    assert stream["rest"]["json"] not in names


def test_collections_that_cannot_be_moved_are_left_out_with_the_reason(place: Place) -> None:
    place.database.create_collection("capped", capped=True, size=4096)
    place.database["plain"].insert_one({"a": 1})
    place.database.create_collection("seen", viewOn="plain", pipeline=[])
    code, said, path = place.init()
    assert code == FINISHED, said
    text = path.read_text(encoding="utf-8")
    assert "# capped: is capped" in text
    assert "# seen: is a view" in text
    assert "left out" in said
    place.database["plain"].drop()
    code, said, path = place.init(output="none.yaml")
    assert (code, "nothing of database" in said, path.exists()) == (BAD_PLAN, True, False), said


def test_a_server_that_is_not_there_is_told(place: Place) -> None:
    code, said = place.route.tranship(
        "init",
        "--database",
        "x",
        "-o",
        place.folder / "x.yaml",
        SOURCE_URI="mongodb://127.0.0.1:9/?serverSelectionTimeoutMS=300",
    )
    assert (code, "Traceback" in said, "127.0.0.1" in said) == (REFUSED, False, True), said


NAMES = [
    "a.b",
    "$x",
    "",
    "ctid",
    "x" * 200,
    "Case",
    "case",
    "CASE",
    "_id_",
    "zażółć",
    "a b",
    "null",
    "true",
    "1",
    "#x",
    "a: b",
]


def test_any_name_gives_a_plan_that_can_be_loaded(place: Place) -> None:
    place.database["odd"].insert_many(
        [{name: n, "sub": {name: n}, "list": [{name: n}]} for n, name in enumerate(NAMES)]
    )
    for name in ("Odd", "a b", "x" * 70, "żółw", "null"):
        place.database[name].insert_one({"a": 1})
    code, said, path = place.init()
    assert code == FINISHED, said
    code, said = place.route.tranship("check", path)
    assert (code, "the plan can run" in said) == (FINISHED, True), said


def test_large_documents_and_ids_as_names(place: Place) -> None:
    place.database["large"].insert_many([{"_id": n, "blob": "x" * 5_000_000, "n": n} for n in range(3)])
    place.database["map"].insert_many(
        [{"_id": n, "kind": "k", **{f"id{m}": m for m in range(n, n + 400)}} for n in range(0, 12_000, 400)]
    )
    code, said, path = place.init("--full")
    assert code == FINISHED, said
    streams = yaml.safe_load(path.read_text(encoding="utf-8"))["streams"]
    assert streams["map"]["columns"] == {"kind": "text"}
    assert streams["map"]["rest"] == {"json": "rest"}
    code, said = place.route.tranship("check", path)
    assert code == FINISHED, said
