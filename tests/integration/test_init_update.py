"""`tranship init --update`: what a person has written stays letter by letter, what is new comes to its place.

Golden files are read by a person before they are committed; `TRANSHIP_WRITE_GOLDEN=1` writes them anew.
"""

from __future__ import annotations

import difflib
import json
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pymongo
import pytest
from bson import Decimal128, Int64

from tests.integration.route import Route
from tests.integration.samples import SAMPLES, at, oid
from tests.integration.test_init import Place
from tranship.orchestrator.sandbox import Servers
from tranship.plans import load_without_addresses

FINISHED, BAD_PLAN, REFUSED = 0, 2, 3
GOLDEN = Path(__file__).parent / "golden" / "update"


@pytest.fixture
def place(servers: Servers, route: Route) -> Iterator[Place]:
    with pymongo.MongoClient[dict[str, Any]](servers.source_uri) as client:
        route.environment["SOURCE_URI"] = servers.source_uri
        made = Place(route, client, "shop")
        SAMPLES["shop"]().fill(client, "shop")
        yield made
        client.drop_database("shop")


def updated(place: Place, *options: str) -> tuple[int, str, str]:
    path = place.folder / "made.yaml"
    code, said = place.route.tranship("init", "--update", path, "--full", *options)
    return code, said, path.read_text(encoding="utf-8")


def edited(place: Place, *changes: tuple[str, str]) -> str:
    """The plan that `init` makes, as a person has changed it."""
    code, said, path = place.init("--full")
    assert code == FINISHED, said
    text = path.read_text(encoding="utf-8")
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")
    return text


PERSON = (
    ("# Made by `tranship init`", "# Ours since spring. Made by `tranship init`"),
    ("      name_first: {path: name.first, type: text}\n", ""),
    ("      vip: bool\n", "      is_vip: {path: vip, type: bool}   # as the reports call it\n"),
    ("    key: {_id: text}\n", "    key: {sku: {path: _id, type: text, comment: as printed}}\n\n"),
    (
        "  customers:\n    key: {_id: objectid}\n",
        "  customers: # people\n    table: people\n    key: {_id: objectid}\n",
    ),
)


def _fields(place: Place) -> None:
    """Fields at their places: at the top, within a document, in line items, an array, a document."""
    database = place.database
    for n, customer in enumerate(database["customers"].find().sort("_id")):
        name = {"first": customer["name"]["first"], "middle": f"M{n}", "last": customer["name"]["last"]}
        whole = {"_id": customer["_id"], "email": customer["email"], "language": "pl", "name": name}
        rest = {key: value for key, value in customer.items() if key not in whole}
        address = {"address": {"city": f"c{n}", "zip": n}}
        database["customers"].replace_one({"_id": customer["_id"]}, whole | rest | address)
    for n, order in enumerate(database["orders"].find().sort("_id")):
        items = [{"sku": i["sku"], "colour": "red", "qty": i["qty"], "price": i["price"]} for i in order["items"]]
        payments = [{"at": at(n), "sum": Decimal128("1.25")}]
        parts = {key: value for key, value in order.items() if key not in ("items", "total", "note")}
        more = {"items": items, "payments": payments, "total": order["total"], "note": order["note"], "rebate": n % 7}
        database["orders"].replace_one({"_id": order["_id"]}, parts | more)
    database["customers"].create_index([("language", 1), ("email", -1)])
    database["orders"].create_index([("rebate", 1)], partialFilterExpression={"rebate": {"$gt": 3}})


def _collections(place: Place) -> None:
    """New ones, one of which refers to a stream that a person has renamed; and one is gone."""
    reviews = [
        {"_id": oid(5, n), "product": f"sku-{n % 200:04}", "customer_id": oid(1, n), "stars": n % 5} for n in range(50)
    ]
    place.database["reviews"].insert_many(reviews)
    place.database["log"].insert_many([{"_id": Int64(n), "at": at(n), "lines": [{"text": "x"}]} for n in range(50)])
    place.database["orders"].drop()


def _types(place: Place) -> None:
    """Another type in most documents, fields that are gone."""
    place.database["products"].update_many({}, [{"$set": {"stock": {"$toString": "$stock"}}}, {"$unset": "labels"}])


CHANGES: dict[str, Callable[[Place], None]] = {"fields": _fields, "collections": _collections, "types": _types}

SAID = {
    "fields": [],
    "collections": ["stream orders: there is no collection orders any more"],
    "types": [
        "table products: column stock is int32, and by what the documents have now text",
        "table products: no document that was read has labels any more",
    ],
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_new_comes_to_its_place_and_what_a_person_wrote_stays(place: Place, name: str) -> None:
    before = edited(place, *PERSON)
    CHANGES[name](place)
    code, said, after = updated(place)
    assert code == FINISHED, said
    golden = GOLDEN / f"{name}.yaml"
    if os.environ.get("TRANSHIP_WRITE_GOLDEN"):
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_text(after, encoding="utf-8")
    assert after == golden.read_text(encoding="utf-8")
    assert [line.removeprefix("yours to decide: ") for line in said.splitlines() if "decide" in line] == SAID[name]
    changes = [line for line in difflib.ndiff(before.splitlines(), after.splitlines()) if line[0] in "+-"]
    # A line within brackets is the only one that may be another: it has all that it had, and more.
    gone = [line[2:] for line in changes if line[0] == "-"]
    come = [line[2:] for line in changes if line[0] == "+"]
    assert all(any(_holds(new, old) for new in come) for old in gone)
    assert all(line in said for line in come), "the difference is shown"
    code, said, again = updated(place)
    assert (code, again, "nothing is new" in said) == (FINISHED, after, True), "a second time"


def _holds(new: str, old: str) -> bool:
    letters = iter(new)
    return all(letter in letters for letter in old)


def test_the_plan_runs_with_what_is_new(place: Place) -> None:
    edited(place, *PERSON)
    _fields(place)
    _types(place)
    place.database["reviews"].insert_many([{"_id": oid(5, n), "stars": n % 5} for n in range(50)])
    code, said, text = updated(place)
    assert code == FINISHED, said
    path = place.folder / "made.yaml"
    path.write_text(f"{text}limits: {{workers: 1, misfit: 100%}}\ncutover: {{quiet: 300ms}}\n", encoding="utf-8")
    run = place.route.run_to_approval(path)
    code, said = place.route.tranship("reconcile", path, "--json")
    assert code == FINISHED, said
    found = place.route.query(
        "select count(*), count(language), count(address_zip), count(name_middle), count(_residue) from shop.people"
    )
    # The first name has no column any more, as a person wants it: it is in every residue.
    assert found == [(300, 300, 300, 300, 300)]
    found = place.route.query("select count(*), count(colour), count(_residue) from shop.orders_items")
    assert found == [(1200, 1200, 0)]
    assert place.route.query("select count(*), count(rebate), count(_residue) from shop.orders") == [(600, 600, 1)]
    assert place.route.query("select count(*), sum(sum)::text from shop.orders_payments") == [(600, "750.00")]
    run.kill()


def test_without_the_figures_everything_that_is_not_read_is_new(place: Place) -> None:
    made = edited(place)
    edited_text = made.replace("      vip: bool\n", "").replace("          qty: int32\n", "")
    (place.folder / "made.yaml").write_text(edited_text, encoding="utf-8")
    code, said, text = updated(place)
    assert (code, text) == (FINISHED, edited_text), said
    (place.folder / "made.profile.json").unlink()
    code, said, text = updated(place)
    assert (code, text) == (FINISHED, made), said


def test_a_plan_in_one_line_is_extended_in_it(place: Place) -> None:
    path = place.folder / "made.yaml"
    head = 'version: 1\nplan: p\nsource: {mongodb: "${env:SOURCE_URI}", database: shop}\n'
    head += 'target: {postgresql: "${env:TARGET_URI}", schema: shop}\n'
    path.write_text(
        f"{head}streams: {{customers: {{columns: {{email: text}}, order: [_id, email]}}, products: {{}}}} # all\n"
    )
    path.chmod(0o640)
    code, said, text = updated(place)
    assert code == FINISHED, said
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    columns = (
        "email: text, name_first: {path: name.first, type: text}, name_last: {path: name.last, type: text}, vip: bool, "
    )
    assert text.startswith(f"{head}streams: {{customers: {{columns: {{{columns}")
    assert text.endswith("} # all\n")
    plan = load_without_addresses(path).plan
    assert plan.streams["customers"].order == ("_id", "email", "name", "vip", "created", "phone")
    assert list(plan.streams["products"].columns) == ["title", "price", "stock", "labels"]
    assert list(plan.streams) == ["customers", "products", "orders"]


@pytest.mark.parametrize(
    ("text", "why", "expected"),
    [
        ("streams: [", "P001", BAD_PLAN),
        ("version: 1\n", "P004", BAD_PLAN),
    ],
)
def test_what_is_no_plan_is_left_as_it_is(place: Place, text: str, why: str, expected: int) -> None:
    path = place.folder / "made.yaml"
    path.write_text(text, encoding="utf-8")
    code, said, after = updated(place)
    assert (code, why in said, after) == (expected, True, text), said


def test_what_stands_in_the_way_leaves_the_plan_as_it_is(place: Place) -> None:
    before = edited(place)
    place.database["orders"].update_many({}, {"$set": {"added": 1}})
    beside = place.folder / "made.profile.json"
    profile = beside.read_text(encoding="utf-8")
    for broken, why in (("{", "cannot be read as a profile"), (json.dumps({"version": 9}), "has version 9")):
        beside.write_text(broken, encoding="utf-8")
        code, said, after = updated(place)
        assert (code, why in said, after) == (BAD_PLAN, True, before), said
    beside.write_text(profile, encoding="utf-8")
    code, said, after = updated(place, "-o", "other.yaml")
    assert (code, "leave -o" in said, after) == (BAD_PLAN, True, before)
    place.route.environment["SOURCE_URI"] = "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=300"
    code, said, after = updated(place)
    assert (code, after, beside.read_text(encoding="utf-8")) == (REFUSED, before, profile), said


def test_an_alias_is_not_written_into(place: Place) -> None:
    path = place.folder / "made.yaml"
    head = 'version: 1\nplan: p\nsource: {mongodb: "${env:SOURCE_URI}", database: shop}\n'
    head += 'target: {postgresql: "${env:TARGET_URI}", schema: shop}\n'
    text = f"{head}streams:\n  customers: {{columns: &both {{name.last: text}}}}\n  products: {{columns: *both}}\n"
    path.write_text(text, encoding="utf-8")
    code, said, after = updated(place)
    assert (code, "(an alias)" in said, after) == (BAD_PLAN, True, text), said
